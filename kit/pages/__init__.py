"""Self-contained HTML pages: values in, one file that loads nothing out."""
