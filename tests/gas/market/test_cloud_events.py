"""Events leave as CloudEvents 1.0, and say the same in every form."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import jsonschema
import pytest
from google.protobuf.json_format import ParseDict

from actionvm.gas.v1 import market_pb2
from gas.budgets import BudgetWarning
from gas.entries import Entry, Fee, Kind, Tip, fee_entry
from gas.market.events import TYPES, ClosedRun, Detail, Fact, Happening, event_id, type_of
from gas.market.fees import Bill, Dao, FeeSchedule, Holding, price_run
from gas.messages.events import cloud_event, event_to_proto
from gas.prices import Meter, Rate, Usage

TIME = datetime(2026, 3, 31, 22, 30, 0, 123_456, tzinfo=UTC)
LEDGER = "00000000-0000-4000-8000-000000000001"
RUN = "runs/00000000-0000-4000-8000-000000000002"
ACCOUNT = "agents/market-brief"
SCHEDULE = FeeSchedule(ACCOUNT, 1, 2, {"MAGNET": 3}, 4, 5, "daos/d", 6)
PRICE = price_run(
    {Rate(100, "USD"): 10**6},
    schedule=SCHEDULE,
    dao=Dao("daos/d", (Holding("0xa", 1), Holding("0xb", 2)), 7),
    payment_token="MAGNET",
)
DETAILS: dict[str, Detail] = {
    "entry": Entry(
        sequence=7,
        kind=Kind.REFUND,
        account=ACCOUNT,
        payee="providers/local",
        gas=2**53 + 1,
        hold="holds/h",
        line=1,
        item="model local/babbler",
        usages=(Usage(Meter.INPUT_TOKENS, 12),),
        price_version="abc",
        cause='Ünïcode "and" quotes',
        create_time=TIME,
        chain_hash=bytes(range(32)),
    ),
    "fee": fee_entry(
        Tip(6),
        ACCOUNT,
        payee="fees/actionvm",
        item="fee actionvm",
        fee=Fee(RUN, 12, "USD"),
        now=TIME,
    ),
    "run-closed": ClosedRun(RUN, 60, "ab" * 32),
    "bill": Bill(RUN, ACCOUNT, PRICE, TIME),
    "budget-warning": BudgetWarning(
        ACCOUNT, f"{ACCOUNT}/budgets/operator.x", percent=80, gas_spent=8, gas_limit=10, soft=True
    ),
}
# What the specification says of context attributes, with those that this service always sends.
TEXT = {"type": "string", "minLength": 1}
SCHEMA = {
    "type": "object",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": TEXT,
        "source": {**TEXT, "format": "uri-reference"},
        "type": {"enum": list(TYPES)},
        "subject": {"type": "string", "pattern": "^(agents|tenants)/[a-z0-9-]+$"},
        "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
        "sequence": {"type": "string", "pattern": "^[0-9]{19}$"},
        "datacontenttype": {"const": "application/json"},
        "data": {"type": "object"},
    },
    # Names of attributes are lower-case letters and digits.
    "propertyNames": {"pattern": "^[a-z0-9]{1,20}$"},
    "required": [
        *("specversion", "id", "source", "type", "subject", "time", "sequence"),
        *("datacontenttype", "data"),
    ],
    "additionalProperties": False,
}


def fact(kind: str) -> Fact:
    is_entry = kind in {"entry", "fee"}
    source = "entries/7" if is_entry else "notices/3"
    happening = Happening(42, source, type_of("entry" if is_entry else kind), ACCOUNT, TIME)
    return Fact(event_id(LEDGER, source), happening, DETAILS[kind])


@pytest.mark.parametrize("kind", DETAILS)
def test_an_event_is_a_cloud_event(kind: str) -> None:
    jsonschema.validate(json.loads(cloud_event(fact(kind))), SCHEMA)


@pytest.mark.parametrize("kind", DETAILS)
def test_its_data_is_the_payload_of_the_stream(kind: str) -> None:
    event = event_to_proto(fact(kind))
    payload = event.WhichOneof("payload")
    assert payload is not None
    data = json.loads(cloud_event(fact(kind)))["data"]

    message = getattr(market_pb2.Event(), payload)
    ParseDict(data, message)

    assert message == getattr(event, payload)


def test_a_cloud_event_says_where_it_is_from_and_when_it_happened() -> None:
    event = json.loads(cloud_event(fact("run-closed")))

    del event["data"]
    assert event == {
        "specversion": "1.0",
        "id": f"{LEDGER}/notices/3",
        "source": "actionvm/gas",
        "type": "com.actionvm.gas.run-closed.v1",
        "subject": ACCOUNT,
        "time": "2026-03-31T22:30:00.123456Z",
        "sequence": "0000000000000000042",
        "datacontenttype": "application/json",
    }


@pytest.mark.parametrize("kind", DETAILS)
def test_the_same_event_is_always_the_same_bytes(kind: str) -> None:
    assert cloud_event(fact(kind)) == cloud_event(fact(kind))
