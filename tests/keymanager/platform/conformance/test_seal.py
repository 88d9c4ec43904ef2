"""What is sealed opens for whom the policy names, as it was, and for nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keymanager.platform.port import Platform, SealPolicy, Unsealable, UnsealProblem

from .bench import Bench, Identity

POLICIES = tuple(SealPolicy)
CONTENT = bytes(range(32))
OURS = Identity()
FIXED = replace(OURS, code="release 3", security_version=3)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("content", [b"", CONTENT, bytes(5000)], ids=len)
def test_what_is_sealed_opens(platform: Platform, policy: SealPolicy, content: bytes) -> None:
    assert platform.unseal(platform.seal(content, policy, "epoch"), "epoch") == content


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_sealed_opens_after_a_crash(bench: Bench, policy: SealPolicy) -> None:
    sealed = bench.become(OURS).seal(CONTENT, policy, "epoch")
    bench.crash()

    assert bench.become(OURS).unseal(sealed, "epoch") == CONTENT


@pytest.mark.parametrize("policy", POLICIES)
def test_sealing_twice_gives_other_bytes(platform: Platform, policy: SealPolicy) -> None:
    assert platform.seal(CONTENT, policy, "epoch") != platform.seal(CONTENT, policy, "epoch")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_content_is_not_in_what_is_sealed(platform: Platform, policy: SealPolicy) -> None:
    assert CONTENT not in platform.seal(CONTENT, policy, "epoch")


def test_other_code_cannot_open_what_the_code_sealed(bench: Bench) -> None:
    sealed = bench.become(OURS).seal(CONTENT, SealPolicy.CODE, "epoch")

    with pytest.raises(Unsealable) as caught:
        bench.become(FIXED).unseal(sealed, "epoch")

    assert caught.value.problem is UnsealProblem.OTHER_CODE


def test_newer_code_of_the_signer_opens_what_older_code_sealed(bench: Bench) -> None:
    sealed = bench.become(OURS).seal(CONTENT, SealPolicy.SIGNER, "epoch")

    assert bench.become(FIXED).unseal(sealed, "epoch") == CONTENT


def test_older_code_cannot_open_what_newer_code_sealed(bench: Bench) -> None:
    sealed = bench.become(FIXED).seal(CONTENT, SealPolicy.SIGNER, "epoch")

    with pytest.raises(Unsealable) as caught:
        bench.become(OURS).unseal(sealed, "epoch")

    assert caught.value.problem is UnsealProblem.NEWER_SECURITY_VERSION


@pytest.mark.parametrize("policy", POLICIES)
def test_code_of_another_signer_cannot_open(bench: Bench, policy: SealPolicy) -> None:
    sealed = bench.become(OURS).seal(CONTENT, policy, "epoch")
    stranger = replace(FIXED, signer="them", security_version=9)

    with pytest.raises(Unsealable):
        bench.become(stranger).unseal(sealed, "epoch")


@pytest.mark.parametrize("policy", POLICIES)
def test_another_role_cannot_open(bench: Bench, policy: SealPolicy) -> None:
    sealed = bench.become(OURS).seal(CONTENT, policy, "epoch")

    with pytest.raises(Unsealable):
        bench.become(replace(OURS, role="gas", code="release 2 of gas")).unseal(sealed, "epoch")


@pytest.mark.parametrize("policy", POLICIES)
def test_another_platform_cannot_open(bench: Bench, policy: SealPolicy) -> None:
    sealed = bench.become(OURS).seal(CONTENT, policy, "epoch")

    with pytest.raises(Unsealable):
        bench.other().become(OURS).unseal(sealed, "epoch")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("label", ["", "epoc", "epoch ", "Epoch", "epoch\0"])
def test_another_label_does_not_open(platform: Platform, policy: SealPolicy, label: str) -> None:
    sealed = platform.seal(CONTENT, policy, "epoch")

    with pytest.raises(Unsealable):
        platform.unseal(sealed, label)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_flipped_bit_in_any_byte_is_noticed(platform: Platform, policy: SealPolicy) -> None:
    sealed = platform.seal(CONTENT, policy, "epoch")

    opened = [
        at
        for at in range(len(sealed))
        if _opens(platform, sealed[:at] + bytes([sealed[at] ^ 1 << at % 8]) + sealed[at + 1 :])
    ]

    assert not opened


@pytest.mark.parametrize("policy", POLICIES)
def test_a_changed_length_is_noticed(platform: Platform, policy: SealPolicy) -> None:
    sealed = platform.seal(CONTENT, policy, "epoch")
    shorter = [sealed[:length] for length in range(len(sealed))]
    longer = [sealed + b"\0", b"\0" + sealed, sealed + sealed]

    assert not [len(one) for one in (*shorter, *longer) if _opens(platform, one)]


def _opens(platform: Platform, sealed: bytes) -> bool:
    try:
        platform.unseal(sealed, "epoch")
    except Unsealable:
        return False
    return True
