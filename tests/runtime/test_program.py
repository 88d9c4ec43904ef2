"""Bundles: what opens, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from actionvm.action.v1 import action_pb2
from chassis.canonical import canonical_json
from runtime.bundles import (
    BUNDLE_KEY,
    PAYLOAD_BYTES_MAX,
    open_bundle,
    read_program,
    require_connectors,
)
from runtime.clients import sealed_bundle
from runtime.connectors.catalogue import catalogue
from runtime.errors import BundleInvalid
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeKnowledge, FakeSigner
from tests.runtime.hosting import bundle_to_proto
from tests.runtime.worlds import ASK, POST, SEARCH, payload, program, with_actions

SIGNER = FakeSigner()
CONNECTORS = catalogue(httpx.AsyncClient(), FakeKnowledge(), SIGNER, Internet().egress())


def test_a_signed_bundle_opens() -> None:
    opened = open_bundle(SIGNER.seal(payload()), SIGNER.public_key)
    assert opened == program()


def test_a_bundle_with_any_bit_flipped_is_refused() -> None:
    whole = bundle_to_proto(SIGNER.seal(payload())).SerializeToString()
    opened = []
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        try:
            bundle = action_pb2.Bundle.FromString(bytes(flipped))
            open_bundle(sealed_bundle(bundle), SIGNER.public_key)
        except (DecodeError, BundleInvalid):
            continue
        opened.append(position)
    assert opened == []


def test_a_bundle_that_somebody_else_signed_is_refused() -> None:
    other = FakeSigner()
    other.key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    other.public_key = other.key.public_key().public_bytes_raw()
    with pytest.raises(BundleInvalid, match="not that of the key manager"):
        open_bundle(other.seal(payload()), SIGNER.public_key)


def test_a_signature_for_another_purpose_is_refused() -> None:
    sealed = SIGNER.seal(payload())
    signature = SIGNER.sign(BUNDLE_KEY, "request", sealed.sha256.encode())
    with pytest.raises(BundleInvalid, match="signature does not fit"):
        open_bundle(replace(sealed, signature=signature), SIGNER.public_key)


def test_a_payload_over_the_limit_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="payload is over"):
        open_bundle(SIGNER.seal(bytes(PAYLOAD_BYTES_MAX + 1)), SIGNER.public_key)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(format="actionvm.bundle/v2"), "format"),
        (lambda content: content.update(surprise=1), "surprise"),
        (lambda content: content.pop("budget"), "budget"),
        (lambda content: content["budget"].update(gas=0), "budget.gas"),
        (lambda content: content["limits"].update(steps=0), "limits.steps"),
        (lambda content: content["limits"].update(seconds="1"), "limits.seconds"),
        (lambda content: content["agent"].update(name="../x"), "agent.name"),
        (lambda content: content["model"].update(temperature=3), "model.temperature"),
        (with_actions(SEARCH, SEARCH), "two actions have one name"),
        (with_actions({**POST, "approval": "deny"}), "required and denied"),
        (with_actions({**POST, "approval": "maybe"}), "actions.0.approval"),
    ],
)
def test_a_payload_of_another_shape_is_refused(
    change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        read_program(payload(change))


@given(st.recursive(st.none() | st.integers(0, 9) | st.text(), st.lists, max_leaves=5))
def test_any_other_json_is_refused(value: Any) -> None:  # noqa: ANN401  # any JSON
    with pytest.raises(BundleInvalid):
        read_program(canonical_json(value))


@given(st.binary(max_size=50))
def test_any_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(BundleInvalid):
        read_program(content)


def test_the_actions_of_the_catalogue_fit() -> None:
    require_connectors(program(), CONNECTORS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"program": "catalogue:shell"}, "no catalogue:shell"),
        ({"program": "board.post"}, "no board.post"),
        ({"effect": "read"}, "its effect is write"),
        ({"credential": ""}, "needs a credential"),
        ({"settings": {}}, "settings: 'url' is a required property"),
        ({"settings": {"url": "file:///etc/passwd"}}, "settings: .*does not match"),
        ({"settings": {"url": "http://a/b?c"}}, "settings: .*does not match"),
        ({"parameters_schema": {"type": "nonsense"}}, "parameters_schema"),
        ({"parameters_schema": {"properties": {"a": {"pattern": "["}}}}, "parameters_schema"),
    ],
)
def test_an_action_that_does_not_fit_the_catalogue_is_refused(
    change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        require_connectors(program(with_actions({**POST, **change})), CONNECTORS)


def test_an_agent_fits_whatever_it_is() -> None:
    require_connectors(program(with_actions(ASK)), CONNECTORS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"program": "agent:"}, "no agent: in this runtime"),
        ({"program": "agent:bundles/../x"}, "is not a bundle"),
        ({"program": f"agent:runs/{64 * '0'}"}, "is not a bundle"),
        ({"parameters_schema": {"type": "object"}}, "not that of an agent"),
        ({"credential": "secrets/board-key"}, "takes no credential"),
        ({"settings": {"url": "http://a"}}, "takes no credential and no settings"),
    ],
)
def test_a_call_of_an_agent_that_is_no_such_call_is_refused(
    change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        require_connectors(program(with_actions({**ASK, **change})), CONNECTORS)
