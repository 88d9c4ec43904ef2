"""The actions on Farcaster, through a hub or through Neynar, in the name of one of its users."""

from __future__ import annotations

from ...egress.client import Egress
from ...ports import Signer
from .. import Connector
from .api import Api
from .hub import Hub
from .neynar import Neynar
from .reads import reads
from .writes import writes


def farcaster_actions(egress: Egress, signer: Signer) -> tuple[Connector, ...]:
    """Return all of them."""
    api = Api({"hub": Hub(egress, signer), "neynar": Neynar(egress, signer)})
    return (*writes(api), *reads(api))
