"""The modules that code in the sandbox may import: there are no others in there."""

from __future__ import annotations

import importlib

MODULES = (
    "__future__", "abc", "array", "ast", "base64", "binascii", "bisect", "calendar", "cmath",
    "collections", "collections.abc", "colorsys", "contextlib", "copy", "csv", "dataclasses",
    "datetime", "decimal", "difflib", "email.utils", "enum", "fnmatch", "fractions", "functools",
    "graphlib", "hashlib", "heapq", "hmac", "html", "html.parser", "io", "inspect", "itertools",
    "json", "keyword", "logging", "math", "numbers", "operator", "pprint", "random", "re",
    "reprlib", "secrets", "statistics", "string", "struct", "textwrap", "time", "tomllib", "types",
    "typing", "unicodedata", "urllib.parse", "uuid", "warnings", "weakref", "xml.etree.ElementTree",
    "zlib",
)  # fmt: skip


def preload() -> None:
    """Import all of them, while files can still be read."""
    for name in MODULES:
        importlib.import_module(name)
