"""Only the process that was measured is answered, and only if it speaks the protocol."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd import protocol
from platformd.client import Connection, Refused
from platformd.protocol import PacketInvalid

from .checkouts import Checkout, derive


@contextmanager
def raw(checkout: Checkout) -> Iterator[tuple[socket.socket, str]]:
    """Connect without a client; return the challenge too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(20)
        with protocol.reachable(checkout.socket) as address:
            peer.connect(address)
        yield peer, str(protocol.decode(peer.recv(4096))["challenge"])


def refusal(peer: socket.socket) -> str:
    return str(protocol.decode(peer.recv(4096)).get("refused"))


def test_a_process_that_inherited_a_connection_is_refused(checkout: Checkout) -> None:
    with raw(checkout) as (peer, challenge):
        request = protocol.encode({"challenge": challenge, "operation": "measure"})
        child = os.fork()
        if child == 0:
            peer.send(request)
            os._exit(0)
        os.waitpid(child, 0)

        assert refusal(peer) == "CALLER_REFUSED"


@pytest.mark.parametrize("challenge", ["", "0" * 32])
def test_a_request_from_before_the_measurement_is_refused(
    checkout: Checkout, challenge: str
) -> None:
    with raw(checkout) as (peer, _):
        peer.send(protocol.encode({"challenge": challenge, "operation": "measure"}))

        assert refusal(peer) == "CALLER_REFUSED"
        assert peer.recv(4096) == b""


@pytest.mark.parametrize(
    "packet",
    [b"x", b"{}", b"[]", b'{"operation": "measure"}', b"[" * 4000, b"x" * 4097, b'{"challenge":1}'],
    ids=len,
)
def test_a_packet_that_is_no_request_ends_the_connection(checkout: Checkout, packet: bytes) -> None:
    with raw(checkout) as (peer, _):
        peer.send(packet)

        assert refusal(peer) == "PACKET_INVALID"
        assert peer.recv(4096) == b""


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "read_root"},
        {"operation": "derive_key", "policy": "all", "label": "", "security_version": 0},
    ],
    ids=lambda fields: str(fields["operation"]),
)
def test_what_the_contract_does_not_know_is_refused(
    checkout: Checkout, fields: dict[str, protocol.Value]
) -> None:
    with pytest.raises(Refused, match="FIELD_INVALID"):
        checkout.ask(**fields)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "measure", "pid": 1},
        {"operation": "quote"},
        {"operation": "quote", "report_data": "00" * 63},
        {"operation": "quote", "report_data": "AB" * 64},
        {"operation": "quote", "report_data": "0 " * 64},
        {**derive("code"), "security_version": -1},
        {**derive("code"), "security_version": True},
        {**derive("code"), "label": "x" * 101},
        {**derive("code"), "role": "keymanager"},
        {"operation": "increment_counter", "request": "00"},
        {"operation": "read_counter", "role": "keymanager"},
    ],
    ids=str,
)
def test_a_malformed_field_is_refused(
    checkout: Checkout, fields: dict[str, protocol.Value]
) -> None:
    with pytest.raises(Refused, match="PACKET_INVALID"):
        checkout.ask(**fields)  # type: ignore[arg-type]  # by name


def test_another_user_is_refused(checkout: Checkout) -> None:
    checkout.kill()
    checkout.settings["PLATFORMD_UIDS"] = "4242424"

    with pytest.raises(Refused, match="CALLER_REFUSED"):
        checkout.start()


def test_a_further_connection_is_refused_until_one_is_closed(checkout: Checkout) -> None:
    connections: list[Connection] = []
    try:
        with pytest.raises(Refused, match="close one"):
            for _ in range(65):
                connections.append(checkout.connect())  # noqa: PERF401  # to be closed
    finally:
        for connection in connections:
            connection.close()

    assert len(connections) == 64
    assert checkout.ask("measure")["role"] == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLATFORMD_SOCKET", ""),
        ("PLATFORMD_DATA_DIR", ""),
        ("PLATFORMD_UIDS", "root"),
        ("PLATFORMD_RELEASE_KEY", "00"),
        ("PLATFORMD_VOUCHED", "1:keymanager"),
        ("PLATFORMD_ROOT", "1"),
    ],
)
def test_a_wrong_setting_is_named(checkout: Checkout, name: str, value: str) -> None:
    checkout.kill()
    checkout.settings[name] = value

    with pytest.raises(AssertionError, match=name):
        checkout.start()


def test_two_processes_cannot_share_a_folder(checkout: Checkout) -> None:
    first, checkout._process = checkout._process, None
    checkout.socket = checkout.socket.with_name("second")
    try:
        with pytest.raises(AssertionError, match="another platformd"):
            checkout.start()
    finally:
        checkout._process = first


def test_a_socket_may_lie_deeper_than_an_address_reaches(checkout: Checkout) -> None:
    checkout.kill()
    folder = checkout.folder.parent / ("d" * 100)
    folder.mkdir()
    checkout.socket = folder / "socket"
    checkout.start()

    assert checkout.ask("measure")["role"] == ""


# --- Packets -------------------------------------------------------------------------------------

VALUES = st.one_of(st.text(), st.integers(), st.booleans())


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_written_reads_as_it_was(fields: dict[str, protocol.Value]) -> None:
    assert protocol.decode(protocol.encode(fields)) == fields


@given(st.binary())
def test_other_bytes_are_refused_or_canonical(packet: bytes) -> None:
    try:
        fields = protocol.decode(packet)
    except PacketInvalid:
        return
    assert protocol.encode(fields) == packet


@given(st.text(alphabet='{}[]":,0a -.\\e', max_size=12))
def test_other_json_is_refused_or_canonical(text: str) -> None:
    try:
        fields = protocol.decode(text.encode())
    except PacketInvalid:
        return
    assert protocol.encode(fields) == text.encode()
