"""Errors are data: every variable part of a message travels as metadata."""

from __future__ import annotations

import inspect

from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from chassis import errors
from chassis.errors import InvalidField, MethodDenied, PeerUnavailable
from chassis.interceptors import status_of


def test_a_message_is_formatted_from_the_fields() -> None:
    error = MethodDenied("linker", "PutSecret")

    assert str(error) == "linker may not call PutSecret"
    assert error.metadata == {"caller": "linker", "method": "PutSecret"}


@given(st.text(), st.text())
def test_braces_in_a_field_do_no_harm(field: str, problem: str) -> None:
    assert str(InvalidField(field, problem)) == f"{field}: {problem}"


def test_a_bug_tells_the_caller_nothing() -> None:
    status = status_of(KeyError("the password is hunter2"), "gas.actionvm")

    assert b"hunter2" not in status.SerializeToString()


def test_an_invalid_field_is_also_a_bad_request() -> None:
    status = status_of(InvalidField("budget.gas", "is 0"), "gas.actionvm")
    found = error_details_pb2.BadRequest()

    assert status.details[1].Unpack(found)
    assert found.field_violations[0].field == "budget.gas"


def test_an_unavailable_peer_says_when_to_retry() -> None:
    status = status_of(PeerUnavailable("gas"), "linker.actionvm")
    found = error_details_pb2.RetryInfo()

    assert status.details[1].Unpack(found)
    assert found.retry_delay.seconds > 0


def test_every_reason_is_a_word_in_capitals_and_used_once() -> None:
    reasons = [
        vars(kind)["reason"]
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if "reason" in vars(kind)
    ]

    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isalpha() and reason.isupper() for reason in reasons)


def test_an_error_fits_into_what_clients_take_as_metadata() -> None:
    error = InvalidField("\u4e2d" * 100_000, "\u4e2d" * 100_000)
    status = status_of(error, "gas.actionvm")

    # Details travel in Base64, the message once more with three characters for each of its bytes.
    assert len(status.SerializeToString()) * 4 / 3 + len(status.message.encode()) * 3 < 8 * 1024
