"""Another implementation of what wallets sign; importing it must change nothing for other tests."""

from __future__ import annotations

import sys

# A library below it raises the limit to where a runaway recursion ends in a crash, not an error.
_limit = sys.getrecursionlimit()
from eth_account import Account  # noqa: E402
from eth_account.messages import encode_defunct, encode_typed_data  # noqa: E402
from eth_account.typed_transactions.typed_transaction import TypedTransaction  # noqa: E402

sys.setrecursionlimit(_limit)

__all__ = ["Account", "TypedTransaction", "encode_defunct", "encode_typed_data"]
