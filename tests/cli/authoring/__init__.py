"""Actions that are written in Python."""
