"""Tests of replay, diff, and verify for bundles, against fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actionvm.action.v1 import action_pb2
from actionvm.runtime.v1 import runtime_pb2
from chassis.canonical import sha256_hex
from cli.bundle import find_bundle_flaw
from cli.commands.agents import write_bundle

from .conftest import FakeSystem, Invoke
from .fakes import FORK, RUN

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()


def test_a_run_that_goes_the_same_way_exits_with_0(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("replay", RUN)
    count = len(system.runtime.replays)
    assert f"is the same, all {count} events of it" in " ".join(result.stdout.split())
    assert result.exit_code == 0


def differ(system: FakeSystem) -> None:
    """Let the last event be another one."""
    last = system.runtime.replays[-1]
    last.same, last.difference = False, "the model would be asked something else"
    last.journaled.CopyFrom(last.event)


def test_the_first_difference_of_a_replay_is_shown_and_exits_with_1(
    system: FakeSystem, invoke: Invoke
) -> None:
    differ(system)
    result = invoke("replay", RUN)
    assert result.exit_code == 1
    assert "the model would be asked something else" in " ".join(result.stdout.split())
    assert "journaled" in result.stdout


def test_the_first_difference_of_a_replay_is_a_document(system: FakeSystem, invoke: Invoke) -> None:
    differ(system)
    found = json.loads(invoke("replay", RUN, "--json").stdout)
    assert (found["same"], found["difference"]["same"]) == (False, False)


def test_runs_that_went_the_same_way_are_said_to(system: FakeSystem, invoke: Invoke) -> None:
    result = invoke("diff", RUN, FORK)
    assert "went the same way" in result.stdout
    assert (result.exit_code, system.runtime.parting.sequence) == (0, 0)


def test_the_first_event_that_differs_is_shown(system: FakeSystem, invoke: Invoke) -> None:
    parting = runtime_pb2.DiffRunsResponse(sequence=3, difference='-"a"\n+"b"')
    system.runtime.parting = parting
    result = invoke("diff", RUN, FORK)
    assert result.exit_code == 1
    assert '+"b"' in result.stdout
    assert json.loads(invoke("diff", RUN, FORK, "--json").stdout)["same"] is False


# --- Bundles -------------------------------------------------------------------------------------


def bundle() -> action_pb2.Bundle:
    """Return a bundle that the key has signed."""
    payload = b"{}"
    sha256 = sha256_hex(payload)
    value = KEY.sign(b"actionvm/bundle/v1\n" + sha256.encode())
    return action_pb2.Bundle(
        name=f"bundles/{sha256}",
        digest=action_pb2.Digest(sha256=sha256, size_bytes=2),
        payload=payload,
        signature=action_pb2.Signature(
            key="keys/bundles", algorithm="ed25519", public_key=PUBLIC, value=value
        ),
    )


FORGERIES: dict[str, Callable[[action_pb2.Bundle], object]] = {
    "another payload": lambda it: setattr(it, "payload", b"[]"),
    "another digest": lambda it: setattr(it.digest, "sha256", 64 * "0"),
    "another size": lambda it: setattr(it.digest, "size_bytes", 3),
    "another name": lambda it: setattr(it, "name", f"bundles/{64 * '0'}"),
    "another kind of key": lambda it: setattr(it.signature, "key", "keys/receipts"),
    "another algorithm": lambda it: setattr(it.signature, "algorithm", "none"),
    "another signature": lambda it: setattr(it.signature, "value", bytes(64)),
    "no signature": lambda it: it.ClearField("signature"),
}


def test_a_genuine_bundle_has_no_flaw() -> None:
    assert not find_bundle_flaw(bundle(), PUBLIC)


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_bundle_has_a_flaw(forge: Callable[[action_pb2.Bundle], object]) -> None:
    forged = bundle()
    forge(forged)
    assert find_bundle_flaw(forged, PUBLIC)


def test_a_bundle_is_verified_offline_with_a_key(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "agent.bundle"
    write_bundle(path, bundle())
    result = invoke("verify", str(path), "--key", PUBLIC.hex())
    assert (result.exit_code, "is signed with keys/bundles" in result.stdout) == (0, True)
    found = json.loads(invoke("verify", str(path), "--key", (32 * b"1").hex(), "--json").stdout)
    assert found["verified"] is False


def test_a_bundle_that_somebody_else_signed_exits_with_1(
    tmp_path: Path, system: FakeSystem, invoke: Invoke
) -> None:
    path = tmp_path / "agent.bundle"
    write_bundle(path, bundle())
    assert invoke("verify", str(path)).exit_code == 1
