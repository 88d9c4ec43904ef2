"""Where events may be sent."""

from __future__ import annotations

import ipaddress
import re

import httpx

from .canonical import sha256_hex
from .errors import InvalidField

URL_CHARACTERS_MAX = 2_048
# Visible ASCII without # and \, of which libraries disagree where the host ends.
_URL = re.compile(r"https?://[!\"$-\[\]-~]+")
_PORT_MAX = 65_535


def receiver_name(url: str) -> str:
    """Return the name of a receiver that is known by its URL alone; its secret derives from it."""
    return f"receivers/{sha256_hex(url.encode())[:32]}"


def require_url(field: str, text: str) -> str:
    """Return a URL to which events may go: over TLS, or to this machine.

    What cannot be read in one way only is refused, and so are the addresses under which a cloud
    tells secrets to whoever asks from inside.
    """
    if len(text) > URL_CHARACTERS_MAX:
        raise InvalidField(field, f"has {len(text)} characters; at most {URL_CHARACTERS_MAX}")
    if not _URL.fullmatch(text):
        raise InvalidField(field, "must be https://host/path, without user, password and fragment")
    try:
        url = httpx.URL(text)
        host = url.host
        port = 443 if url.port is None else url.port
    # A host may have letters that no name has: `idna` raises a `UnicodeError` of its own.
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidField(field, "is no URL") from error
    if url.userinfo:
        raise InvalidField(field, "must not have a user or a password")
    if not host or not 0 < port <= _PORT_MAX:
        raise InvalidField(field, "names nobody to call")
    address = _address(host)
    if url.scheme == "http" and not _is_this_machine(host, address):
        problem = "must be https, unless it goes to localhost, 127.0.0.1 or [::1]"
        raise InvalidField(field, problem)
    if address is not None and (
        address.is_link_local or address.is_unspecified or address.is_multicast
    ):
        raise InvalidField(field, f"{address} is no address of a receiver")
    return text


def _is_this_machine(
    host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # The same machine, in other clothes.
    return getattr(address, "ipv4_mapped", None) or address
