"""Every action of the catalogue through the suite."""

from __future__ import annotations

import httpx

from runtime.connectors.catalogue import catalogue
from tests.fakes.internet import Internet
from tests.fakes.runtime_ports import FakeKnowledge, FakeSigner
from tests.runtime.connectors.cdp_stands import CDP_SUBJECTS
from tests.runtime.connectors.conformance import Conformance, Declared
from tests.runtime.connectors.evm_stands import EVM_SUBJECTS
from tests.runtime.connectors.farcaster_stands import FARCASTER_SUBJECTS
from tests.runtime.connectors.runs import Runs
from tests.runtime.connectors.stands import ALONE, SUBJECTS


class TestCatalogue(Conformance, Runs):
    """Actions that somebody else performs."""

    subjects = (*SUBJECTS, *CDP_SUBJECTS, *EVM_SUBJECTS, *FARCASTER_SUBJECTS)


class TestAlone(Declared):
    """Actions of which only the declaration can be looked at from outside."""

    subjects = ALONE


def test_no_action_of_the_catalogue_is_left_out() -> None:
    egress = Internet().egress()
    names = {*catalogue(httpx.AsyncClient(), FakeKnowledge(), FakeSigner(), egress)}
    subjects = [*SUBJECTS, *CDP_SUBJECTS, *EVM_SUBJECTS, *FARCASTER_SUBJECTS, *ALONE]
    assert {subject.name for subject in subjects} == names
