"""What a worker is started for."""

from __future__ import annotations

# Files of Python, in the runner that was compiled before.
EXECUTES = "executes"
# Components as well, which it compiles itself.
COMPILES = "compiles"
