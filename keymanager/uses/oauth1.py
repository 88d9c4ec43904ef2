"""OAuth 1.0a (RFC 5849) with HMAC-SHA1, as X wants it."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from chassis.errors import InvalidField

from ..sealing import RandomBytes
from ..secret import Kind
from .keys import LoadedKey, OAuth1Key
from .operation import Facts, Headers, fitting
from .target import Target, escape, parse_target

FORM_MEMBERS_MAX = 256
FORM_CHARACTERS_MAX = 64 * 1024

_NONCE_BYTES = 16
_RESERVED = "oauth_"


@dataclass(frozen=True)
class OAuth1Headers:
    """Authorize one request; `form` is its body where that is `x-www-form-urlencoded`."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.OAUTH1})
    name: ClassVar[str] = "oauth1"

    method: str
    url: str = field(repr=False)
    form: Sequence[tuple[str, str]] = field(default=(), repr=False)
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        target = parse_target(self.method, self.url)
        if any(name.startswith(_RESERVED) for name, _ in target.parameters):
            raise InvalidField("url", f"has a parameter {_RESERVED}…, which is made here")
        _check_form(self.form)
        object.__setattr__(self, "target", target)

    def facts(self) -> Facts:
        return self.target.facts()

    def perform(self, key: LoadedKey, *, now: datetime, random_bytes: RandomBytes) -> Headers:
        """Return the `Authorization` header, good for one request."""
        oauth = fitting(key, OAuth1Key)
        protocol = {
            "oauth_consumer_key": oauth.consumer_key,
            "oauth_nonce": random_bytes(_NONCE_BYTES).hex(),
            "oauth_signature_method": "HMAC-SHA1",
            "oauth_timestamp": str(int(now.timestamp())),
            "oauth_token": oauth.token,
            "oauth_version": "1.0",
        }
        protocol["oauth_signature"] = _signature(oauth, self._base_string(protocol))
        parameters = (f'{escape(name)}="{escape(protocol[name])}"' for name in sorted(protocol))
        return Headers({"Authorization": "OAuth " + ", ".join(parameters)})

    def _base_string(self, protocol: dict[str, str]) -> str:
        """Return what is signed; sorted after encoding (section 3.4.1.3.2)."""
        pairs = (*self.target.parameters, *self.form, *protocol.items())
        encoded = sorted((escape(name), escape(value)) for name, value in pairs)
        normalised = "&".join(f"{name}={value}" for name, value in encoded)
        return "&".join(map(escape, (self.method, self.target.base_url, normalised)))


def _signature(oauth: OAuth1Key, base_string: str) -> str:
    secret = f"{escape(oauth.consumer_secret)}&{escape(oauth.token_secret)}"
    digest = hmac.digest(secret.encode(), base_string.encode(), "sha1")
    return base64.b64encode(digest).decode()


def _check_form(form: Sequence[tuple[str, str]]) -> None:
    if len(form) > FORM_MEMBERS_MAX:
        raise InvalidField("form", f"has more than {FORM_MEMBERS_MAX} members")
    if sum(len(name) + len(value) for name, value in form) > FORM_CHARACTERS_MAX:
        raise InvalidField("form", f"has more than {FORM_CHARACTERS_MAX} characters")
    for index, (name, value) in enumerate(form):
        if not name or name.startswith(_RESERVED):
            raise InvalidField(f"form[{index}].name", f"is empty, or starts with {_RESERVED}")
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            raise InvalidField(f"form[{index}]", "has half of a surrogate pair") from None
