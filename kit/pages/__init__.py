"""Self-contained HTML pages: values in, one file that loads nothing out."""

from kit.pages import board

__all__ = ["board"]
