"""The actions on X, through its API v2, in the name of one of its users."""

from __future__ import annotations

from ...egress.client import Egress
from ...ports import Signer
from .. import Connector
from .api import Api
from .reads import reads
from .writes import writes


def x_actions(egress: Egress, signer: Signer) -> tuple[Connector, ...]:
    """Return all of them."""
    api = Api(egress, signer)
    return (*writes(api), *reads(api))
