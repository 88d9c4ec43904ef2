"""The actions on the Coinbase Developer Platform: accounts of Ethereum and its kin.

Coinbase keeps the keys of the accounts (https://docs.cdp.coinbase.com/api-reference/v2). What is
asked is authenticated by two tokens of the key manager: one of the API key, and where an account
is made or used, one of the wallet secret.
"""

from __future__ import annotations

from ...egress.client import Egress
from ...ports import Signer
from .. import Connector
from .accounts import accounts
from .api import Api
from .sending import sending
from .signing import signing
from .swaps import swaps


def cdp_actions(egress: Egress, signer: Signer) -> tuple[Connector, ...]:
    """Return all of them."""
    api = Api(egress, signer)
    return (*accounts(api), *sending(api), *signing(api), *swaps(api))
