"""Where events may go, when they are tried again, and what signs them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.courier import ATTEMPTS_MAX, RETRY_MAX, Answer, _pause
from chassis.errors import InvalidField
from chassis.receivers import require_url
from chassis.seal import Seal
from gas.market.webhooks import Delivery, DeliveryState, after_attempt, webhook_name

NOW = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
DELIVERY = Delivery("webhooks/w", 1, "entries/1", "agents/a", next_attempt_time=NOW)
LEDGER = "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    "url",
    [
        "https://market.example/hooks?token=a%20b",
        "https://market.example:8443/",
        "https://10.0.0.7/hooks",
        "https://[2001:db8::7]/",
        "http://127.0.0.1:9000/x",
        "http://127.8.8.8/x",
        "http://[::1]:9000/x",
        "http://localhost:9000/x",
        "https://market.example/@hooks",
    ],
)
def test_events_go_over_tls_or_to_this_machine(url: str) -> None:
    assert require_url("webhook.url", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://market.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:25/",
        "//market.example/",
        "https:market.example",
        "https://",
        "https:///hooks",
        "HTTP://market.example/",
        "http://market.example/",
        "http://10.0.0.7/",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://0.0.0.0/",
        "https://[::]/",
        "https://224.0.0.1/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://127.1/",
        "http://localhost.market.example/",
        "http://127.0.0.1.market.example/",
        "http://127.0.0.1@market.example/",
        "https://user:password@market.example/",
        "https://market.example\\@127.0.0.1/",
        "https://market.example#@127.0.0.1/",
        "https://market.example/#part",
        "https://market.example/a b",
        "https://market.example/\r\nhost: other",
        "https://market.example/ü",
        "https://ma\u2024rket.example/",
        "https://market.example:0/",
        "https://market.example:99999/",
        "https://market.example:port/",
        "https://[::1/",
        "https://xn--/",
        "https://market.example/" + "a" * 2_048,
    ],
)
def test_a_url_that_is_hostile_or_can_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(InvalidField):
        require_url("webhook.url", url)


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda rest: f"https://{rest}"))
def test_no_url_breaks_the_check(url: str) -> None:
    try:
        require_url("webhook.url", url)
    except InvalidField as error:
        assert error.field == "webhook.url"


def test_pauses_never_exceed_an_hour_and_attempts_never_twelve() -> None:
    dice, delivery, pauses = random.Random(1), DELIVERY, []
    while delivery.state is DeliveryState.PENDING:
        delivery = after_attempt(delivery, Answer("HTTP 500"), NOW, dice)
        pauses.append(delivery.next_attempt_time - NOW)

    assert delivery.state is DeliveryState.DEAD
    assert delivery.attempt_count == ATTEMPTS_MAX
    for number, pause in enumerate(pauses[: ATTEMPTS_MAX - 1]):
        least = timedelta(seconds=2**number)
        assert least <= pause <= min(least * 1.1, RETRY_MAX)


@given(st.integers(0, ATTEMPTS_MAX - 2), st.timedeltas(timedelta(), timedelta(days=9)))
def test_a_receiver_can_ask_for_more_time_but_not_for_more_than_an_hour(
    attempts: int, asked: timedelta
) -> None:
    tried = replace(DELIVERY, attempt_count=attempts)

    after = after_attempt(tried, Answer("HTTP 429", asked), NOW, random.Random(1))

    assert min(asked, RETRY_MAX) <= after.next_attempt_time - NOW <= RETRY_MAX


def test_what_succeeded_is_not_tried_again() -> None:
    tried = after_attempt(DELIVERY, Answer("HTTP 500"), NOW, random.Random(1))

    after = after_attempt(tried, Answer(), NOW, random.Random(1))

    assert (after.state, after.acknowledge_time) == (DeliveryState.DELIVERED, NOW)
    assert (after.attempt_count, after.last_error) == (2, "")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("", 0),
        ("120", 120),
        ("-5", 0),
        ("1e9", 0),
        ("9" * 400, 3_600),
        ("²", 0),
        ("Tue, 31 Mar 2026 22:31:00 GMT", 60),
        ("Tue, 31 Mar 2026 22:31:00", 60),
        ("Mon, 01 Jan 1990 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3_600),
        ("soon", 0),
    ],
)
def test_odd_demands_for_time_are_no_demands(told: str, seconds: int) -> None:
    assert _pause(told, NOW) == timedelta(seconds=seconds)


@given(st.text(max_size=40))
def test_no_demand_for_time_breaks_the_courier(told: str) -> None:
    assert timedelta() <= _pause(told, NOW) <= RETRY_MAX


def test_every_webhook_has_a_secret_of_its_own() -> None:
    seal = Seal(bytes(32))

    assert seal.secret("webhooks/a") != seal.secret("webhooks/b")
    assert seal.secret("webhooks/a") == Seal(bytes(32)).secret("webhooks/a")
    assert seal.secret("webhooks/a") != Seal(bytes(31) + b"1").secret("webhooks/a")


def test_a_signature_is_as_in_standard_webhooks() -> None:
    # Computed with the `openssl` command from the bytes that the standard names.
    headers = Seal(bytes(range(32))).headers(
        "webhooks/w", event_id="e", time=datetime.fromtimestamp(1_700_000_000, UTC), body=b"{}"
    )

    assert headers == {
        "webhook-id": "e",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,V+cEOl6/NGvz0JBcw95I2RY75lMEfmpF35Eu/HBmeGM=",
    }


def test_one_request_makes_one_name_in_one_ledger() -> None:
    assert webhook_name(LEDGER, "r") == webhook_name(LEDGER, "r")
    assert webhook_name(LEDGER, "r") != webhook_name(LEDGER, "s")
    assert webhook_name(LEDGER, "r") != webhook_name(LEDGER.replace("1", "2"), "r")
