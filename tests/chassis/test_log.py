"""What is logged says what happened, and nothing that somebody entrusted to the process."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest
import structlog
from structlog.testing import capture_logs

from actionvm.gas.v1 import gas_pb2
from chassis.interceptors import _Call
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


@pytest.mark.parametrize(("sent", "logged"), [("run-1", "run-1"), ("a secret, pasted", "")])
def test_what_is_no_request_id_is_not_logged_as_one(sent: str, logged: str) -> None:
    with capture_logs() as lines:
        _Call("ReserveGas", gas_pb2.ReserveGasRequest(request_id=sent)).finish("OK")
    assert [line["request_id"] for line in lines] == [logged]


def _fail_with(value: str) -> None:
    try:
        _ = len(value) / 0
    except ZeroDivisionError as error:
        log.error("rpc.failed", exc_info=error)
