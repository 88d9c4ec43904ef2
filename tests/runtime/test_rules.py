"""Rules of actions: what each minds, exactly, and what no order of calls gets past."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BundleInvalid
from runtime.facts import ActionCall, Decision
from runtime.policy import Facts, Verdict, decide
from runtime.program import ProgramAction
from runtime.rules import RULES_MAX
from tests.runtime.worlds import POST, program, with_actions

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
ALLOW, ASK, DENY = Decision.ALLOW, Decision.ASK, Decision.DENY
PAYMENT = {"to": "0xAB", "amount": 5, "text": "four", "order": {"wei": "10"}, "ok": True}


def action_with(*rules: dict[str, Any], **change: object) -> ProgramAction:
    """Return an action that takes any arguments."""
    free = {"parameters_schema": {"type": "object"}, "limits": {}, "required": False}
    changed = {**POST, **free, "policy": list(rules), **change}
    return program(with_actions(changed)).actions[0]


def judge(
    action: ProgramAction,
    arguments: object,
    *,
    now: datetime = NOW,
    used: dict[str, int] | None = None,
    dry_run: bool = False,
) -> Verdict:
    """Return the verdict about a call; arguments may be JSON text."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = ActionCall("step-1-1", "board.post", text)
    return decide(call, action, allowed_count=0, dry_run=dry_run, facts=Facts(now, used or {}))


def bound(field: str, **bounds: str) -> dict[str, Any]:
    return {"kind": "bound", "name": "a", "field": field, **bounds}


def listing(field: str, **lists: object) -> dict[str, Any]:
    return {"kind": "choice", "name": "a", "field": field, **lists}


def window(**change: object) -> dict[str, Any]:
    return {"kind": "window", "name": "a", "most": "3", "per": "day", **change}


def hours(**change: object) -> dict[str, Any]:
    usual = {"time_zone": "Europe/Berlin", "days": [0, 1, 2, 3, 4], "start": 480, "end": 1080}
    return {"kind": "hours", "name": "a", **usual, **change}


@pytest.mark.parametrize(
    ("rule", "change", "decision"),
    [
        # Numbers.
        (bound("amount", deny_above="5"), {}, ALLOW),
        (bound("amount", deny_above="4.9"), {}, DENY),
        (bound("amount", ask_above="4", deny_above="9"), {}, ASK),
        (bound("amount", ask_above="4", deny_above="9"), {"amount": 10}, DENY),
        (bound("amount", ask_below="6"), {}, ASK),
        (bound("amount", deny_below="6", ask_below="7"), {}, DENY),
        (bound("amount", deny_above="5"), {"amount": "5"}, ALLOW),
        (bound("amount", deny_above="5"), {"amount": "5.000000000000000001"}, DENY),
        (bound("amount", deny_above="5"), {"amount": -7}, ALLOW),
        (bound("order.wei", deny_above=str(10**30)), {"order": {"wei": str(10**30)}}, ALLOW),
        (bound("order.wei", deny_above=str(10**30)), {"order": {"wei": str(10**30 + 1)}}, DENY),
        (bound("amount", deny_above="0.3"), {"amount": 0.3}, ALLOW),
        (bound("amount", deny_above="0.3"), {"amount": 0.1 + 0.2}, DENY),
        # What is missing, or no exact number, opens nothing.
        (bound("amount", deny_above="5"), {"amount": None}, DENY),
        (bound("amount", ask_above="5"), {"amount": None}, ASK),
        (bound("amount", ask_above="4", deny_above="9"), {"amount": "many"}, DENY),
        (bound("amount", deny_above="5"), {"amount": True}, DENY),
        (bound("amount", deny_above="5"), {"amount": [1]}, DENY),
        (bound("amount", deny_above="5"), {"amount": "1e0"}, DENY),
        (bound("amount", deny_above="5"), {"amount": "0x1"}, DENY),
        (bound("amount", deny_above="5"), {"amount": " 1"}, DENY),
        (bound("amount", deny_above="5"), {"amount": "+1"}, DENY),
        (bound("amount", deny_above="5"), {"amount": "01"}, DENY),
        (bound("amount", deny_above="5"), {"amount": "\u0661"}, DENY),
        (bound("amount", deny_above="5"), {"amount": "1\n"}, DENY),
        (bound("amount", deny_above="5"), {"amount": "NaN"}, DENY),
        (bound("amount", deny_above="5"), {"amount": -(10**79)}, DENY),
        (bound("other.amount", deny_above="5"), {}, DENY),
        (bound("amount.cents", deny_above="5"), {}, DENY),
        # Lengths.
        (bound("text", measure="length", deny_above="4"), {}, ALLOW),
        (bound("text", measure="length", deny_above="3"), {}, DENY),
        (bound("text", measure="length", ask_above="1"), {"text": [1, 2]}, ASK),
        (bound("text", measure="length", deny_above="4"), {"text": 1}, DENY),
        # Lists.
        (listing("to", only=["0xab"]), {}, ALLOW),
        (listing("to", only=["0xabc", "0xa"]), {}, DENY),
        (listing("to", only=["0xA*"], otherwise="ask"), {}, ALLOW),
        (listing("to", only=["x"], otherwise="ask"), {}, ASK),
        (listing("to", only=["anna"]), {"to": "Anna"}, DENY),
        (listing("to", only=["anna"]), {"to": ["anna"]}, DENY),
        (listing("amount", only=[5]), {}, ALLOW),
        (listing("amount", only=[1]), {"amount": True}, DENY),
        (listing("amount", only=[5]), {"amount": "5"}, DENY),
        (listing("amount", only=[5]), {"amount": 5.0}, DENY),
        (listing("ok", only=[True]), {}, ALLOW),
        (listing("to", never=["eve"]), {}, ALLOW),
        (listing("to", never=["eve"]), {"to": " EVE "}, DENY),
        (listing("to", never=["eve"]), {"to": "\uff45\uff56\uff45"}, DENY),
        (listing("to", never=["0XaB"], otherwise="ask"), {}, ASK),
        (listing("to", never=["eve"]), {"to": None}, DENY),
        (listing("amount", never=[5]), {"amount": "5"}, DENY),
        (listing("amount", never=[5]), {"amount": 5.0}, DENY),
    ],
)
def test_a_rule_minds(rule: dict[str, Any], change: dict[str, Any], decision: Decision) -> None:
    assert judge(action_with(rule), {**PAYMENT, **change}).decision is decision


@pytest.mark.parametrize(
    "number", ["1e400", "1e3", "5.00000000000000000001", "4.9999999999999999999999", "1E-7"]
)
def test_a_number_that_others_could_read_otherwise_is_none(number: str) -> None:
    action = action_with(bound("amount", deny_above="9999"))
    assert judge(action, f'{{"amount": {number}}}').decision is DENY


@pytest.mark.parametrize("other", ["1", '"x"', "null"])
def test_an_argument_that_comes_twice_is_denied(other: str) -> None:
    action = action_with(bound("amount", deny_above="5"))
    verdict = judge(action, f'{{"amount": {other}, "amount": 1}}')
    assert (verdict.decision, verdict.rule) == (
        DENY,
        "arguments: contains a name twice in one object",
    )


def test_of_several_rules_the_worst_counts_and_is_named() -> None:
    rules = (
        bound("amount", ask_above="1"),
        {**listing("to", never=["0xab"]), "name": "b"},
        {**bound("amount", deny_above="1"), "name": "c"},
    )
    assert judge(action_with(*rules), PAYMENT).rule == "rule b: to is one of those that are barred"
    assert judge(action_with(rules[0]), PAYMENT).rule == "rule a: amount is 5, above 1"


def test_rules_without_the_time_deny() -> None:
    call = ActionCall("step-1-1", "board.post", json.dumps(PAYMENT))
    verdict = decide(call, action_with(window()), allowed_count=0, dry_run=False)
    assert verdict.decision is DENY


def test_a_dry_run_says_what_would_be_asked_and_counts_nothing() -> None:
    action = action_with(window(), {**bound("amount", ask_above="1"), "name": "b"})
    verdict = judge(action, PAYMENT, dry_run=True)
    assert verdict.decision is Decision.DRY_RUN
    assert "rule b: amount is 5" in verdict.rule
    assert verdict.uses == ()


# --- Hours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "decision"),
    [
        ("2026-03-02T06:59:59+00:00", DENY),  # 07:59:59 in Berlin
        ("2026-03-02T07:00:00+00:00", ALLOW),
        ("2026-03-02T16:59:59+00:00", ALLOW),
        ("2026-03-02T17:00:00+00:00", DENY),
        ("2026-03-01T12:00:00+00:00", DENY),  # a Sunday
        ("2026-03-30T06:00:00+00:00", ALLOW),  # after the clocks were put forward
        ("2026-03-30T16:00:00+00:00", DENY),
    ],
)
def test_hours_go_by_the_clocks_of_their_place(time: str, decision: Decision) -> None:
    assert (
        judge(action_with(hours()), PAYMENT, now=datetime.fromisoformat(time)).decision is decision
    )


# --- Windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "now", "since"),
    [
        ({"per": "", "seconds": 3_600}, "2026-03-02T12:00:00+00:00", "2026-03-02T11:00:00+00:00"),
        ({}, "2026-03-02T12:00:00+00:00", "2026-03-02T00:00:00+00:00"),
        ({}, "2026-03-02T00:00:00+00:00", "2026-03-02T00:00:00+00:00"),
        ({"per": "hour"}, "2026-03-02T12:59:59+00:00", "2026-03-02T12:00:00+00:00"),
        ({"per": "month"}, "2026-03-31T23:59:59+00:00", "2026-03-01T00:00:00+00:00"),
        (
            {"time_zone": "Europe/Berlin"},
            "2026-03-02T23:30:00+00:00",
            "2026-03-02T23:00:00+00:00",
        ),
        # A day of 23 hours, and one of 25.
        (
            {"time_zone": "Europe/Berlin"},
            "2026-03-29T21:59:59+00:00",
            "2026-03-28T23:00:00+00:00",
        ),
        (
            {"time_zone": "Europe/Berlin"},
            "2026-10-25T22:59:59+00:00",
            "2026-10-24T22:00:00+00:00",
        ),
        # The hour that comes twice is two hours.
        (
            {"per": "hour", "time_zone": "Europe/Berlin"},
            "2026-10-25T01:30:00+00:00",
            "2026-10-25T01:00:00+00:00",
        ),
        # The clocks of Cairo skip midnight.
        (
            {"time_zone": "Africa/Cairo"},
            "2026-04-24T12:00:00+00:00",
            "2026-04-23T22:00:00+00:00",
        ),
    ],
)
def test_a_window_begins(change: dict[str, object], now: str, since: str) -> None:
    (use,) = judge(action_with(window(**change)), PAYMENT, now=datetime.fromisoformat(now)).uses
    # What is used in the moment of the beginning counts in a period, and no more in what slides.
    moment = timedelta(microseconds=0 if "seconds" in change else 1)
    assert use.since + moment == datetime.fromisoformat(since)


def test_a_window_that_is_full_denies_or_asks_and_names_its_limit() -> None:
    action = action_with(window(sum_of="amount", each="to", most="7.5"))
    (use,) = judge(action, PAYMENT).uses
    assert (use.amount, use.most) == (5 * 10**18, 75 * 10**17)
    full = {use.key: 3 * 10**18}
    verdict = judge(action, PAYMENT, used=full)
    assert verdict == Verdict(DENY, "rule a: 7.5 of amount per day for each to are used up")


def test_a_use_that_a_person_decides_about_counts_and_needs_no_room() -> None:
    action = action_with(window(otherwise="ask"))
    (use,) = judge(action, PAYMENT).uses
    verdict = judge(action, PAYMENT, used={use.key: 3})
    assert (verdict.decision, [one.most for one in verdict.uses]) == (ASK, [None])


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [("0xAB", "0xab", True), ("anna", " Anna", True), ("a", "b", False), (1, "1", True)],
)
def test_each_value_has_a_window_of_its_own(one: object, other: object, *, is_same: bool) -> None:
    action = action_with(window(each="to"))
    keys = [judge(action, {"to": to}).uses[0].key for to in (one, other)]
    assert (keys[0] == keys[1]) is is_same


@pytest.mark.parametrize("amount", [None, -1, "-1", "much", True, [], 10**78])
def test_what_cannot_be_summed_is_denied(amount: object) -> None:
    action = action_with(window(sum_of="amount", most=str(10**77)))
    assert judge(action, {"amount": amount}).decision is DENY


_AMOUNTS = st.integers(0, 12) | st.decimals(0, 12, places=3).map(str)
_CALLS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), _AMOUNTS, st.integers(0, 3 * 86_400)), max_size=40
)


@given(_CALLS, st.sampled_from(["day", "slides"]), st.sampled_from(["", "to"]))
def test_no_order_of_calls_exceeds_a_limit(
    calls: list[tuple[str, object, int]], kind: str, each: str
) -> None:
    span = {"per": "day"} if kind == "day" else {"per": "", "seconds": 86_400}
    action = action_with(window(sum_of="amount", most="10", each=each, **span))
    kept: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for to, amount, seconds in sorted(calls, key=lambda call: call[2]):
        now = NOW + timedelta(seconds=seconds)
        arguments = {"to": to, "amount": amount}
        (use,) = judge(action, arguments, now=now).uses or [None]
        if use is None:
            continue
        used = sum(size for time, size in kept[use.key] if time > use.since)
        if judge(action, arguments, now=now, used={use.key: used}).decision is ALLOW:
            kept[use.key].append((now, use.amount))
    for uses in kept.values():
        for time, _ in uses:
            end = _window_end(time, kind)
            assert sum(size for other, size in uses if time <= other < end) <= 10 * 10**18


def _window_end(time: datetime, kind: str) -> datetime:
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + DAY if kind == "day" else time + DAY


@given(
    st.lists(
        st.sampled_from(
            [
                bound("amount", ask_above="4"),
                bound("amount", deny_below="3"),
                listing("to", only=["0xab", "a*"], otherwise="ask"),
                listing("to", never=["a"]),
                window(otherwise="ask"),
                window(sum_of="amount", most="4"),
                hours(),
            ]
        ),
        max_size=4,
    ),
    st.fixed_dictionaries({}, optional={"to": st.sampled_from(["a", "0xAB"]), "amount": _AMOUNTS}),
    st.data(),
)
def test_a_rule_more_never_opens_anything(
    rules: list[dict[str, Any]], arguments: dict[str, object], data: st.DataObject
) -> None:
    named = [{**rule, "name": f"r{number}"} for number, rule in enumerate(rules)]
    fewer = [rule for rule in named if data.draw(st.booleans())]
    order = [ALLOW, ASK, DENY]
    strict = judge(action_with(*named), arguments).decision
    assert order.index(strict) >= order.index(judge(action_with(*fewer), arguments).decision)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["wei", "x"]), inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["to", "amount", "text", "order"], _JSON)),
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # hypothesis adds the zone
)
def test_every_call_gets_a_verdict(arguments: dict[str, object], now: datetime) -> None:
    rules = [
        bound("order.wei", ask_above="1"),
        bound("text", measure="length", ask_above="1"),
        listing("to", only=["a*", 1, True], otherwise="ask"),
        listing("to", never=["b*"], otherwise="ask"),
        window(each="to", otherwise="ask"),
        window(sum_of="amount", each="text", per="month", time_zone="Asia/Tehran"),
        window(per="hour", time_zone="Australia/Lord_Howe", otherwise="ask"),
        hours(otherwise="ask"),
    ]
    named = [{**rule, "name": f"r{number}"} for number, rule in enumerate(rules)]
    verdict = judge(action_with(*named), json.dumps(arguments), now=now)
    assert all(use.since <= now and use.amount >= 0 for use in verdict.uses)


# --- Bundles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        bound("amount"),
        bound("amount", deny_above="1e9"),
        bound("amount", deny_above="1", other="1"),
        bound("", deny_above="1"),
        listing("to"),
        listing("to", only=["a"], never=["b"]),
        listing("to", only=["a"], otherwise="allow"),
        window(per=""),
        window(seconds=60),
        window(most=""),
        window(most="-1"),
        window(time_zone="Mars/Base"),
        window(per="", seconds=32 * 86_400),
        hours(start=480, end=480),
        hours(days=[]),
        hours(time_zone=""),
        {"kind": "other", "name": "a"},
        {**window(), "name": "A"},
    ],
)
def test_a_bundle_with_a_rule_that_is_none_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(BundleInvalid):
        action_with(rule)


def test_two_rules_of_one_name_and_too_many_are_refused() -> None:
    for rules in (
        [window(), window()],
        [{**window(), "name": f"r{n}"} for n in range(RULES_MAX + 1)],
    ):
        with pytest.raises(BundleInvalid):
            action_with(*rules)
