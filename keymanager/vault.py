"""The life of a secret: put, rotated, used, shredded; its value never leaves the vault."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.clock import Clock
from chassis.errors import InvalidField

from .errors import KindUnsuitable, SecretNotFound
from .sealing import RandomBytes, RootKey, SealedSecret, authenticate, length_prefixed, seal, unseal
from .secret import Kind, Secret
from .signing import (
    SEED_BYTES,
    SERVICE_KEYS,
    Purpose,
    Signature,
    check_purpose,
    public_key_of,
    sign,
)
from .store import Request, SecretStore


class Vault:
    """Secrets under one root key."""

    def __init__(
        self, store: SecretStore, root: RootKey, *, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._store = store
        self._root = root
        self._clock = clock
        self._random_bytes = random_bytes

    def ensure_service_keys(self) -> None:
        """Make the keys of the services where they are missing, and check that they open.

        A root key that does not belong to the database is noticed here, as `SealBroken`.
        """
        now = self._clock.now()
        for name in SERVICE_KEYS:
            secret = Secret(name, Kind.ED25519, version=1, create_time=now, rotate_time=now)
            self._store.ensure(self._seal(secret, self._random_bytes(SEED_BYTES)))
            unseal(self._root, self._store.get(name))

    def load_own(self, name: str) -> bytes | None:
        """Return a value that the key manager keeps for itself, or None; `name` is in no list."""
        try:
            return unseal(self._root, self._store.get(name))
        except SecretNotFound:
            return None

    def store_own(self, name: str, value: bytes) -> None:
        """Seal a value for the key manager itself, unless the name is taken."""
        now = self._clock.now()
        secret = Secret(name, Kind.API_KEY, version=1, create_time=now, rotate_time=now)
        self._store.ensure(self._seal(secret, value))

    def put(
        self, request_id: str, name: str, kind: Kind, value: bytes, *, generate: bool
    ) -> Secret:
        """Seal a new secret durably; see the contract for repeats."""
        value_to_seal = self._value_of(kind, value, generate=generate)
        now = self._clock.now()
        secret = Secret(name, kind, version=1, create_time=now, rotate_time=now)
        tag = self._tag(b"put", name, str(int(kind)), value, generate=generate)
        return self._store.put(Request(request_id, tag), self._seal(secret, value_to_seal))

    def rotate(self, request_id: str, name: str, value: bytes, *, generate: bool) -> Secret:
        """Seal a new value and destroy the old one."""
        now = self._clock.now()

        def replace(old: SealedSecret) -> SealedSecret:
            # What is not authentic must not get a new seal.
            found = authenticate(self._root, old)
            new = Secret(name, found.kind, found.version + 1, found.create_time, rotate_time=now)
            return self._seal(new, self._value_of(new.kind, value, generate=generate))

        tag = self._tag(b"rotate", name, "", value, generate=generate)
        return self._store.rotate(Request(request_id, tag), name, replace)

    def shred(self, name: str) -> None:
        """Destroy a secret, whether or not its seal is whole."""
        self._store.shred(name)

    def describe(self, name: str) -> Secret:
        """Return what is known about a secret."""
        return authenticate(self._root, self._store.get(name))

    def describe_all(self, *, after: str, limit: int) -> Sequence[Secret]:
        """Return at most `limit` secrets by name, from the one after `after` on."""
        return [authenticate(self._root, found) for found in self._store.list(after, limit)]

    def sign(self, key: str, purpose: Purpose, message: bytes, *, caller: str) -> Signature:
        """Sign a message, if this caller may for this purpose with this key."""
        check_purpose(purpose, caller=caller, key=key)
        return sign(key, self._seed_of(key), purpose, message)

    def public_key(self, key: str) -> bytes:
        """Return the raw public key of a signing key."""
        return public_key_of(self._seed_of(key))

    def _seed_of(self, key: str) -> bytes:
        sealed = self._store.get(key)
        # Opened first: only then is the kind known to be authentic.
        seed = unseal(self._root, sealed)
        if sealed.secret.kind is not Kind.ED25519:
            raise KindUnsuitable(key)
        return seed

    def _value_of(self, kind: Kind, value: bytes, *, generate: bool) -> bytes:
        if generate:
            if value:
                raise InvalidField("value", "is set together with generate; leave one of them out")
            if kind is not Kind.ED25519:
                raise InvalidField("generate", "is only for keys that sign; send the value")
            return self._random_bytes(SEED_BYTES)
        if not value:
            raise InvalidField("value", "is required")
        if kind is Kind.ED25519 and len(value) != SEED_BYTES:
            raise InvalidField("value", f"has {len(value)} bytes; an ed25519 seed has {SEED_BYTES}")
        return value

    def _seal(self, secret: Secret, value: bytes) -> SealedSecret:
        return seal(self._root, secret, value, self._random_bytes)

    def _tag(self, method: bytes, name: str, kind: str, value: bytes, *, generate: bool) -> bytes:
        """Return what tells a repeated request from another one, without keeping its value."""
        is_generated = b"generate" if generate else b""
        return self._root.tag(
            length_prefixed(method, name.encode(), kind.encode(), is_generated, value)
        )
