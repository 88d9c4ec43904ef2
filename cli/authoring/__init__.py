"""Actions written in Python: their files, their tests, and a sandbox to try them in."""
