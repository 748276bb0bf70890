"""A report on a fitted table: one HTML page that needs nothing but a browser."""

from tessflow.viz.report.page import write_report

__all__ = ["write_report"]
