"""Runs the command line: `python -m cli`."""

from __future__ import annotations

import os

COMMAND = "ACTIONVM_COMMAND"


def main() -> None:
    """Run one command; `bin/actionvm` says in the environment how it was called."""
    try:
        # The imports take long enough for somebody to press Ctrl-C.
        from .app import app  # noqa: PLC0415  # as above
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    app(prog_name=os.environ.get(COMMAND, "actionvm"))


if __name__ == "__main__":
    main()
