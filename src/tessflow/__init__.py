"""Normalizing flows between discrete and continuous data through learnable tessellations."""

__version__ = "0.1.0.dev0"
