"""Who gets which role, and for how long its keys stay the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from platformd import protocol
from platformd.client import Refused
from platformd.measure import PACKAGES
from platformd.process import birth_of

from .checkouts import ROOT, Checkout, derive

MEASURE = {"operation": "measure"}


def raw(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def supervised(checkout: Checkout, role: str) -> list[dict[str, protocol.Value]]:
    """Return what a forked service is told, by a platformd that its supervisor started."""
    checkout.kill()
    arguments = [str(checkout.socket), str(checkout.data), role, "vouch"]
    return checkout.run(
        MEASURE, derive("code"), derive("signer"), module="cli.supervisor", arguments=arguments
    )


def test_every_package_of_this_checkout_is_known() -> None:
    # With one that is not, no service gets a role, and nothing starts.
    packages = {folder.parent.name for folder in ROOT.glob("*/__init__.py")}

    assert packages <= PACKAGES


@pytest.mark.parametrize("role", ["keymanager", "gas"])
def test_a_service_that_was_started_by_its_name_has_its_role(checkout: Checkout, role: str) -> None:
    measured = checkout.measure(module=role)

    assert (measured["role"], measured["problem"]) == (role, "")


def test_a_process_that_is_no_service_has_no_role(checkout: Checkout) -> None:
    assert checkout.ask("measure")["role"] == ""


def test_a_forked_service_has_the_role_that_its_supervisor_names(checkout: Checkout) -> None:
    measured, *_ = supervised(checkout, "keymanager")

    assert (measured["role"], measured["problem"]) == ("keymanager", "")


def test_a_forked_service_that_nobody_vouches_for_has_no_role(checkout: Checkout) -> None:
    arguments = ["", "", "keymanager", "silent"]
    (measured,) = checkout.run(MEASURE, module="cli.supervisor", arguments=arguments)

    assert (measured["role"], measured["problem"]) == ("", "nobody vouches for it")


def test_two_roles_have_no_key_in_common(checkout: Checkout) -> None:
    requests = [derive("code"), derive("signer")]
    first = checkout.run(*requests)
    second = checkout.run(*requests, module="gas")

    assert not {answer["key"] for answer in first} & {answer["key"] for answer in second}


def test_two_labels_have_no_key_in_common(checkout: Checkout) -> None:
    first, second = checkout.run(derive("code", label="a"), derive("code", label="b"))

    assert first["key"] != second["key"]


def test_keys_stay_the_same_after_a_restart_of_platformd(checkout: Checkout) -> None:
    before = checkout.run(MEASURE, derive("code"), derive("signer"))
    checkout.kill()
    checkout.start()

    assert checkout.run(MEASURE, derive("code"), derive("signer")) == before


def test_a_lost_memory_changes_no_key(checkout: Checkout) -> None:
    before = checkout.run(derive("code"))
    checkout.kill()
    (checkout.data / "memory").write_bytes(b"changed\n{}")
    checkout.start()

    assert checkout.run(derive("code")) == before


def test_two_platforms_have_no_key_in_common(checkout: Checkout, tmp_path: Path) -> None:
    before = checkout.run(derive("code"), derive("signer"))
    checkout.kill()
    checkout.data.rename(tmp_path / "old")
    checkout.start()
    after = checkout.run(derive("code"), derive("signer"))

    assert not {one["key"] for one in before} & {one["key"] for one in after}


def test_a_changed_source_is_noticed_while_platformd_runs(checkout: Checkout) -> None:
    before = checkout.measure()
    checkout.write("keymanager/vault.py", "# new\n")
    changed = checkout.measure()
    checkout.write("keymanager/vault.py", "# now\n")

    assert len({before["code"], changed["code"], checkout.measure()["code"]}) == 3


def test_the_folder_of_another_role_does_not_matter(checkout: Checkout) -> None:
    before = checkout.measure()
    checkout.write("gas/ledger.py", "# new\n")

    assert checkout.measure() == before


def test_everything_matters_for_a_forked_service(checkout: Checkout) -> None:
    before = supervised(checkout, "keymanager")[0]
    checkout.write("gas/ledger.py", "# new\n")

    assert supervised(checkout, "keymanager")[0]["code"] != before["code"]


# --- Vouching ------------------------------------------------------------------------------------


def test_the_parent_cannot_vouch_for_a_process_that_is_not_its_child(checkout: Checkout) -> None:
    stranger = birth_of(1)
    with pytest.raises(Refused, match="VOUCH_REFUSED"):
        checkout.ask("vouch", pid=1, start_time=stranger.start_time, role="keymanager")


def test_the_parent_cannot_vouch_for_a_later_process_of_the_same_number(
    checkout: Checkout,
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        birth = birth_of(child.pid)
        with pytest.raises(Refused, match="VOUCH_REFUSED"):
            checkout.ask("vouch", pid=child.pid, start_time=birth.start_time + 1, role="keymanager")
        child.kill()


def test_the_parent_cannot_vouch_for_a_role_that_does_not_exist(checkout: Checkout) -> None:
    own = birth_of(os.getpid())
    with pytest.raises(Refused, match="VOUCH_REFUSED"):
        checkout.ask("vouch", pid=own.pid, start_time=own.start_time, role="king")


def test_nobody_but_the_parent_can_vouch(checkout: Checkout) -> None:
    own = birth_of(os.getpid())
    vouch: dict[str, protocol.Value] = {
        "operation": "vouch",
        "pid": own.pid,
        "start_time": own.start_time,
        "role": "gas",
    }

    assert checkout.run(vouch) == [{"refused": "VOUCH_REFUSED"}]


def test_a_vouched_process_that_is_no_supervisor_s_child_has_no_role(checkout: Checkout) -> None:
    """The parent here is a test: it may vouch, but its children run something else."""
    probe = (
        "import sys; from pathlib import Path; from platformd.client import Connection; input();"
        "print(Connection(Path(sys.argv[1]), timeout_seconds=9).ask('measure')['role'])"
    )
    command = [sys.executable, "-c", probe, str(checkout.socket)]
    with subprocess.Popen(
        command,
        cwd=checkout.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        birth = birth_of(child.pid)
        checkout.ask("vouch", pid=child.pid, start_time=birth.start_time, role="keymanager")
        output, _ = child.communicate("\n")

    assert output == "\n"


# --- Releases ------------------------------------------------------------------------------------


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def start_release(checkout: Checkout, key: Ed25519PrivateKey, *, security_version: int) -> None:
    checkout.kill()
    checkout.settings["PLATFORMD_RELEASE_KEY"] = raw(key)
    checkout.release(key, security_version=security_version)
    checkout.start()


def test_an_unsigned_checkout_is_its_owner_s_and_says_debug(checkout: Checkout) -> None:
    measured = checkout.measure()

    assert (measured["debug"], measured["security_version"]) == (True, 0)


def test_a_release_has_its_signer_and_version_and_is_no_debug(
    checkout: Checkout, key: Ed25519PrivateKey
) -> None:
    unsigned = checkout.measure()
    start_release(checkout, key, security_version=3)

    measured = checkout.measure()

    assert (measured["debug"], measured["security_version"]) == (False, 3)
    assert measured["signer"] != unsigned["signer"]


@pytest.mark.parametrize(
    "changed", ["keymanager/vault.py", "chassis/clock.py", "requirements.lock"]
)
def test_a_changed_release_is_its_owner_s(
    checkout: Checkout, key: Ed25519PrivateKey, changed: str
) -> None:
    unsigned = checkout.measure()
    start_release(checkout, key, security_version=3)
    checkout.write(changed, "# changed\n")

    measured = checkout.measure()

    assert (measured["signer"], measured["debug"]) == (unsigned["signer"], True)


def test_new_code_has_the_keys_of_old_code_of_its_signer(
    checkout: Checkout, key: Ed25519PrivateKey
) -> None:
    start_release(checkout, key, security_version=2)
    old = checkout.run(derive("signer", version=2), derive("code", version=2))
    checkout.write("keymanager/vault.py", "# fixed\n")
    start_release(checkout, key, security_version=3)

    new = checkout.run(derive("signer", version=2), derive("code", version=2))

    assert new[0] == old[0]
    assert new[1]["key"] != old[1]["key"]


@pytest.mark.parametrize("policy", ["code", "signer"])
def test_old_code_does_not_get_the_keys_of_new_code(
    checkout: Checkout, key: Ed25519PrivateKey, policy: str
) -> None:
    start_release(checkout, key, security_version=2)

    answers = checkout.run(derive(policy, version=3), derive(policy, version=2**53 - 1))

    assert answers == [{"refused": "SECURITY_VERSION_TOO_NEW"}] * 2


def test_another_signer_has_other_keys(checkout: Checkout, key: Ed25519PrivateKey) -> None:
    start_release(checkout, key, security_version=2)
    first = checkout.run(derive("signer"))
    start_release(checkout, Ed25519PrivateKey.from_private_bytes(bytes(32)), security_version=2)

    assert checkout.run(derive("signer")) != first


@pytest.mark.parametrize("damage", ["manifest", "signature", "key", "no signature", "format"])
def test_a_release_that_is_not_signed_by_the_key_stops_the_start(
    checkout: Checkout, key: Ed25519PrivateKey, damage: str
) -> None:
    start_release(checkout, key, security_version=2)
    checkout.kill()
    manifest, signature = (checkout.folder / f"release.json{end}" for end in ("", ".sig"))
    if damage == "manifest":
        manifest.write_text(manifest.read_text().replace(":2,", ":9,"))
    elif damage == "signature":
        signature.write_text("00" * 64)
    elif damage == "key":
        checkout.settings["PLATFORMD_RELEASE_KEY"] = "ab" * 32
    elif damage == "no signature":
        signature.unlink()
    else:
        content = manifest.read_bytes().replace(b"release/v1", b"release/v2")
        manifest.write_bytes(content)
        signature.write_text(key.sign(b"actionvm/release/v1\n" + content).hex())

    with pytest.raises(AssertionError, match=r"release\.json"):
        checkout.start()


def test_a_killed_platformd_gives_its_socket_to_the_next(checkout: Checkout) -> None:
    assert checkout._process is not None
    os.kill(checkout._process.pid, signal.SIGKILL)
    checkout.kill()

    checkout.start()

    assert checkout.measure()["role"] == "keymanager"
