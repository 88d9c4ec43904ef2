"""The stands of the actions on Farcaster: writes through both ways, reads with a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pydantic import JsonValue

from tests.fakes.farcaster import ME, FakeHub
from tests.fakes.internet import Site
from tests.fakes.neynar import SIGNER, FakeNeynar
from tests.fakes.runtime_ports import FakeSigner
from tests.runtime.connectors.stand import CANARY, Subject
from tests.runtime.connectors.stands import URL, before_site

_HUB: dict[str, JsonValue] = {"via": "hub", "fid": ME, "url": URL}
_NEYNAR: dict[str, JsonValue] = {"via": "neynar", "fid": ME, "url": URL, "signer_uuid": SIGNER}
_TEXT: dict[str, JsonValue] = {"text": "Ether gained."}
# What the fake of Neynar calls its first cast.
OLD = FakeNeynar().add_cast("A cast of mine")
_ID: dict[str, JsonValue] = {"fid": ME, "hash": OLD}


def _through_hub(
    name: str, arguments: Mapping[str, JsonValue], effects: Callable[[FakeHub], int]
) -> Subject:
    def serves() -> tuple[Site, Callable[[], int]]:
        hub = FakeHub(signers={ME: {FakeSigner().public_key}})
        return hub, lambda: effects(hub)

    return Subject(name, before_site(name, serves, _HUB), arguments)


def _through_neynar(
    name: str,
    arguments: Mapping[str, JsonValue],
    effects: Callable[[FakeNeynar], int] = lambda _: 0,
) -> Subject:
    def serves() -> tuple[Site, Callable[[], int]]:
        neynar = FakeNeynar(key=CANARY)
        neynar.add_cast("A cast of mine")
        return neynar, lambda: effects(neynar)

    return Subject(name, before_site(name, serves, _NEYNAR), arguments)


FARCASTER_SUBJECTS = [
    _through_hub("farcaster.cast", _TEXT, lambda hub: len(hub.casts)),
    _through_hub("farcaster.delete", {"hash": OLD}, lambda hub: len(hub.removed)),
    _through_hub("farcaster.like", _ID, lambda hub: len(hub.reactions)),
    _through_hub("farcaster.recast", _ID, lambda hub: len(hub.reactions)),
    _through_neynar("farcaster.cast", _TEXT, lambda neynar: len(neynar.casts) - 1),
    replace(
        _through_neynar("farcaster.delete", {"hash": OLD}, lambda neynar: 1 - len(neynar.casts)),
        # What is not there is deleted.
        refusals=(400, 401, 403, 422),
    ),
    _through_neynar("farcaster.like", _ID, lambda neynar: len(neynar.reactions)),
    _through_neynar("farcaster.recast", _ID, lambda neynar: len(neynar.reactions)),
    _through_neynar("farcaster.user", {"user": "@me"}),
    _through_neynar("farcaster.casts", {"fid": ME}),
    _through_neynar("farcaster.replies", _ID),
    _through_neynar("farcaster.mentions", {}),
]
