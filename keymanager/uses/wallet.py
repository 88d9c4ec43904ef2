"""Messages that wallets sign for Ethereum: typed data (EIP-712) and personal ones (EIP-191)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from chassis.ethereum import keccak256
from chassis.fields import require_size

from ..sealing import RandomBytes
from ..secret import Kind
from .eip712 import TypedData, parse_typed_data
from .ethereum import sign_for_message
from .keys import LoadedKey, Secp256k1Key
from .operation import FACT_CHARACTERS_MAX, Fact, Facts, fitting

MESSAGE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class SignTypedData:
    """Sign typed data, given as the JSON that wallets take."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.SECP256K1})
    name: ClassVar[str] = "sign-typed-data"

    typed_data: bytes = field(repr=False)
    parsed: TypedData = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_size("typed_data", self.typed_data, size_max=MESSAGE_BYTES_MAX)
        object.__setattr__(self, "parsed", parse_typed_data(self.typed_data))

    def facts(self) -> Facts:
        """Say for what it is valid, and what it says; what the domain lacks is not there."""
        domain = self.parsed.domain
        facts: dict[str, Fact] = {"primary_type": self.parsed.primary_type}
        if "chainId" in domain:
            facts["chain_id"] = int(str(domain["chainId"]), 0)
        if "verifyingContract" in domain:
            facts["verifying_contract"] = str(domain["verifyingContract"]).lower()
        if len(name := str(domain.get("name", ""))) <= FACT_CHARACTERS_MAX and "name" in domain:
            facts["domain_name"] = name
        return facts | dict(self.parsed.facts)

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return r, s and v (27 or 28): 65 bytes."""
        return sign_for_message(fitting(key, Secp256k1Key).private, self.parsed.digest)


@dataclass(frozen=True)
class SignPersonalMessage:
    """Sign a message as `personal_sign` of wallets does; it can never pass for a transaction."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.SECP256K1})
    name: ClassVar[str] = "sign-personal-message"

    message: bytes = field(repr=False)

    def __post_init__(self) -> None:
        require_size("message", self.message, size_max=MESSAGE_BYTES_MAX)

    def facts(self) -> Facts:
        return {"message_bytes": len(self.message)}

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> bytes:
        """Return r, s and v (27 or 28): 65 bytes."""
        prefix = f"\x19Ethereum Signed Message:\n{len(self.message)}".encode()
        return sign_for_message(
            fitting(key, Secp256k1Key).private, keccak256(prefix + self.message)
        )
