"""The contract of the marketplace over gRPC: parse, decide in the domain, build the answer."""

from __future__ import annotations

from actionvm.gas.v1 import market_pb2
from chassis.identity import OPERATOR
from chassis.unimplemented import refusing_the_rest

DESCRIPTOR = market_pb2.DESCRIPTOR.services_by_name["MarketplaceService"]

_OPERATOR = frozenset({OPERATOR})

CALLERS = {
    "SetFeeSchedule": _OPERATOR,
    "GetFeeSchedule": _OPERATOR,
    "SetDao": _OPERATOR,
    "GetDao": _OPERATOR,
    "PriceRun": _OPERATOR,
    "BillRun": _OPERATOR,
    "SubscribeUsage": _OPERATOR,
    "CreateWebhook": _OPERATOR,
    "ListWebhooks": _OPERATOR,
    "DeleteWebhook": _OPERATOR,
    "ReplayWebhook": _OPERATOR,
}


@refusing_the_rest(DESCRIPTOR)
class MarketplaceService:
    """Answers from fees, holdings and the outbox of the ledger."""
