"""What is logged says what happened, and nothing that somebody entrusted to the process."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import structlog

from chassis.log import install_log, log


def test_the_traceback_of_a_bug_shows_no_variables() -> None:
    written = io.StringIO()
    try:
        with redirect_stdout(written):
            install_log("keymanager", "debug")
            _fail_with("a-secret-value")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert "ZeroDivisionError" in written.getvalue()
    assert "a-secret-value" not in written.getvalue()


def _fail_with(value: str) -> None:
    try:
        _ = len(value) / 0
    except ZeroDivisionError as error:
        log.error("rpc.failed", exc_info=error)
