"""Answers the requests of a measured caller: keys, quotes, counters, and who vouches for whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import protocol
from .counters import Counters
from .errors import FieldRefused, SecurityVersionRefused, VouchRefused
from .measure import ROLES, Measurement
from .process import Birth, Unreadable, birth_of, parent_of
from .root import Root

PLATFORM = "soft"


@dataclass(frozen=True)
class Caller:
    """Who asks: a process, and what it was when it connected."""

    birth: Birth
    measurement: Measurement


class Desk:
    """The operations of the contract; `parent` may vouch for its own children."""

    def __init__(self, root: Root, counters: Counters, *, parent: Birth | None) -> None:
        self._root = root
        self._counters = counters
        self._parent = parent
        self._vouched: dict[Birth, str] = {}
        key = root.attestation_key.public_key()
        self._key = key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def is_parent(self, birth: Birth) -> bool:
        """Tell whether a process is the one that may vouch."""
        return birth == self._parent

    def vouched_role(self, birth: Birth) -> str:
        """Return what the parent called one of its children, or nothing."""
        return self._vouched.get(birth, "")

    def answer(self, caller: Caller, fields: protocol.Fields) -> protocol.Fields:
        """Perform one request; raise a Refusal or PacketInvalid."""
        operations: dict[str, tuple[Callable[..., protocol.Fields], tuple[str, ...]]] = {
            "measure": (self._measure, ()),
            "derive_key": (self._derive_key, ("label", "policy", "security_version")),
            "quote": (self._quote, ("report_data",)),
            "read_counter": (self._read_counter, ()),
            "increment_counter": (self._increment_counter, ("request",)),
            "vouch": (self._vouch, ("pid", "role", "start_time")),
        }
        name = protocol.text(fields, "operation", protocol.LABEL_CHARACTERS_MAX)
        if name not in operations:
            raise FieldRefused(f"operation is none of {', '.join(operations)}")
        operation, names = operations[name]
        protocol.expect(fields, "challenge", "operation", *names)
        return operation(caller, fields)

    def vouch(self, birth: Birth, role: str) -> None:
        """Remember the role of a child of the parent; raise VouchRefused."""
        if role not in ROLES:
            raise VouchRefused(f"{role!r} is none of {', '.join(ROLES)}")
        try:
            is_child = birth_of(birth.pid) == birth and parent_of(birth.pid) == self._parent_pid
        except Unreadable:
            is_child = False
        if not is_child:
            raise VouchRefused(f"process {birth.pid} is no child of the parent of platformd")
        self._vouched = {one: role for one, role in self._vouched.items() if _lives(one)}
        self._vouched[birth] = role

    @property
    def _parent_pid(self) -> int:
        return self._parent.pid if self._parent is not None else 0

    def _vouch(self, caller: Caller, fields: protocol.Fields) -> protocol.Fields:
        if not self.is_parent(caller.birth):
            raise VouchRefused("only the parent process of platformd vouches for others")
        birth = Birth(protocol.number(fields, "pid"), protocol.number(fields, "start_time"))
        self.vouch(birth, protocol.text(fields, "role", protocol.ROLE_CHARACTERS_MAX))
        return {}

    def _measure(self, caller: Caller, _fields: protocol.Fields) -> protocol.Fields:
        return {**_facts(caller.measurement), "problem": caller.measurement.problem}

    def _derive_key(self, caller: Caller, fields: protocol.Fields) -> protocol.Fields:
        own = caller.measurement
        identities = {"code": own.code, "signer": own.signer}
        policy = protocol.text(fields, "policy", protocol.LABEL_CHARACTERS_MAX)
        version = protocol.number(fields, "security_version")
        if policy not in identities:
            raise FieldRefused("policy is neither code nor signer")
        if version > own.security_version:
            raise SecurityVersionRefused(
                f"security version {version} is newer than {own.security_version}, which runs; "
                "start the newer release"
            )
        info: dict[str, protocol.Value] = {
            "purpose": "seal",
            "policy": policy,
            "identity": identities[policy].hex(),
            # Under the policy of the signer, it alone keeps the services of a release apart.
            "role": own.role,
            "debug": own.debug,
            "security_version": version,
            "label": protocol.text(fields, "label", protocol.LABEL_CHARACTERS_MAX),
        }
        return {"key": self._root.derive(info).hex(), "identity": identities[policy].hex()}

    def _quote(self, caller: Caller, fields: protocol.Fields) -> protocol.Fields:
        report_data = protocol.octets(fields, "report_data", protocol.REPORT_BYTES)
        quote: dict[str, protocol.Value] = {
            **_facts(caller.measurement),
            "format": protocol.QUOTE_FORMAT,
            "hardware": False,
            "key": self._key,
            "platform": PLATFORM,
            "report_data": report_data.hex(),
        }
        signature = self._root.attestation_key.sign(protocol.quoted(quote))
        return {**quote, "signature": signature.hex()}

    def _read_counter(self, caller: Caller, _fields: protocol.Fields) -> protocol.Fields:
        return {"counter": self._counters.read(caller.measurement.role)}

    def _increment_counter(self, caller: Caller, fields: protocol.Fields) -> protocol.Fields:
        request = protocol.octets(fields, "request", protocol.REQUEST_BYTES).hex()
        return {"counter": self._counters.increment(caller.measurement.role, request)}


def _facts(measurement: Measurement) -> dict[str, protocol.Value]:
    return {
        "role": measurement.role,
        "code": measurement.code.hex(),
        "signer": measurement.signer.hex(),
        "security_version": measurement.security_version,
        "debug": measurement.debug,
    }


def _lives(birth: Birth) -> bool:
    try:
        return birth_of(birth.pid) == birth
    except Unreadable:
        return False
