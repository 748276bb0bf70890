"""Puts this directory on the path, for the cases that tests of tables share."""
