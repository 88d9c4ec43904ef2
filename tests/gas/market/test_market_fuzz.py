"""Whatever an operator sends to the marketplace, it answers or names what is wrong."""

from __future__ import annotations

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.identity import OPERATOR
from gas.market.service import DESCRIPTOR
from tests.gas.test_fuzz import _reason, messages
from tests.grpc_fixtures import StubAs

REQUESTS = {method.name: GetMessageClass(method.input_type) for method in DESCRIPTOR.methods}


@pytest.mark.parametrize("method", sorted(REQUESTS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_breaks_the_marketplace(
    grpc_stub_as: StubAs, method: str, data: st.DataObject
) -> None:
    request = data.draw(messages(REQUESTS[method]))

    assert _reason(grpc_stub_as(OPERATOR), method, request) != "INTERNAL"
