"""Which addresses may be asked, read in one way only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode, urljoin

import idna

from . import Address, Refused

# Also after what is not ASCII was encoded.
URL_CHARACTERS_MAX = 4_096
HOST_CHARACTERS_MAX = 253
PORTS = {"http": 80, "https": 443}
_PORT_MAX = 65_535

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
# Of controls, spaces and backslashes libraries disagree what they mean.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f-\xa0\\\s]")
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:]+)(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A name that ends so is a number to the resolvers of C: 2130706433, 0x7f.1, 017700000001, 127.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_V4_FORBIDDEN = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Global by its number, but the host of its virtual machines answers there, at Azure.
        "168.63.129.16/32",
    )
)
_V6_UNICAST = ipaddress.IPv6Network("2000::/3")
_V6_FORBIDDEN = tuple(
    ipaddress.IPv6Network(network)
    # Protocols such as Teredo; documentation, twice.
    for network in ("2001::/23", "2001:db8::/32", "3fff::/20")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7"),
    )
)
# Where a cloud tells secrets to whoever asks from inside.
_METADATA = ipaddress.IPv6Network("fd00:ec2::/32")


@dataclass(frozen=True)
class Url:
    """An address of the web: `host` in ASCII and lower-case, `target` as it is sent."""

    scheme: str
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def authority(self) -> str:
        """Return the host as a header names it, with its port unless that is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Return what two addresses of one service have in common."""
        return self.scheme, self.host, self.port

    @property
    def literal(self) -> Address | None:
        """Return the address, if the host is one and no name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def with_query(self, query: Mapping[str, str]) -> Url:
        """Return the address with more in its query."""
        if not query:
            return self
        mark = "&" if "?" in self.target else "?"
        more = urlencode(query, errors="replace")
        return _require_short(replace(self, target=f"{self.target}{mark}{more}"))

    def joined(self, location: str) -> Url:
        """Return where a redirect from here leads."""
        try:
            return read_url(urljoin(str(self), location))
        except ValueError as error:
            raise Refused("URL_INVALID", "it leads to something that is no address") from error


@dataclass(frozen=True)
class HostRule:
    """Hosts that may be asked: one, or all below it; without a port, the usual ones."""

    host: str
    port: int | None
    is_wildcard: bool

    def admits(self, url: Url) -> bool:
        """Tell whether it allows an address."""
        if url.port != (self.port or PORTS[url.scheme]):
            return False
        return url.host.endswith(f".{self.host}") if self.is_wildcard else url.host == self.host


def read_url(text: str) -> Url:
    """Return an address; raise `Refused` for what is none, or could be read in two ways."""
    if len(text) > URL_CHARACTERS_MAX:
        raise _invalid(f"has more than {URL_CHARACTERS_MAX} characters")
    if _AMBIGUOUS.search(text):
        raise _invalid("has spaces, control characters or backslashes; encode them as %20")
    found = _URL.fullmatch(text)
    if not found:
        raise _invalid("must be http://host/path or https://host/path")
    scheme, authority, rest = found.groups()
    scheme = scheme.lower()
    if "@" in authority:
        raise _invalid("must not have a user or a password before an @")
    host, port = _read_authority(authority)
    try:
        # What is encoded already stays as it is.
        target = quote(rest if rest.startswith("/") else f"/{rest}", safe=_VISIBLE)
    except UnicodeEncodeError as error:
        raise _invalid("has half of a surrogate pair") from error
    return _require_short(Url(scheme, host, port or PORTS[scheme], target))


def read_rules(texts: Iterable[str]) -> tuple[HostRule, ...]:
    """Return rules such as `example.org`, `*.example.org` and `example.org:8443`."""
    return tuple(map(_read_rule, texts))


def _read_rule(text: str) -> HostRule:
    is_wildcard = text.startswith("*.")
    if _AMBIGUOUS.search(text):
        raise _invalid(f"{text[:100]!r} has spaces, control characters or backslashes")
    host, port = _read_authority(text.removeprefix("*."))
    is_number = _NUMBER.fullmatch(host.rpartition(".")[2]) is not None
    if is_wildcard and (is_number or "." not in host or ":" in host):
        raise _invalid(f"*.{host[:100]} is too wide; at least two names follow the star")
    return HostRule(host, port, is_wildcard)


def read_local(text: str) -> tuple[str, int]:
    """Return host and port of a service that may be asked although its address is private."""
    rule = _read_rule(text)
    if rule.is_wildcard or rule.port is None:
        raise _invalid(f"{text[:100]!r} must be host:port, without a star")
    return rule.host, rule.port


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the internet, whatever it is wrapped in."""
    address = _unwrapped(address)
    if not address.is_global:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _V4_FORBIDDEN)
    return address in _V6_UNICAST and not any(address in network for network in _V6_FORBIDDEN)


def is_local(address: Address) -> bool:
    """Tell whether an address is of this machine or its network, where an operator may lead."""
    address = _unwrapped(address)
    return address not in _METADATA and any(address in network for network in _LOCAL)


def _unwrapped(address: Address) -> Address:
    """Return the address that one of IPv6 stands for, if it has one of IPv4 in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _read_authority(text: str) -> tuple[str, int | None]:
    found = _AUTHORITY.fullmatch(text)
    if not found:
        raise _invalid("must have a host, and at most a port behind it")
    host, digits = found.groups()
    port = int(digits) if digits else None
    if port is not None and not 0 < port <= _PORT_MAX:
        raise _invalid("has no such port; 1 to 65535 are ports")
    return _read_host(host), port


def _read_host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError as error:
            raise _invalid("has no IPv6 address between its brackets") from error
    if len(text) > HOST_CHARACTERS_MAX:
        raise _invalid(f"has a host of more than {HOST_CHARACTERS_MAX} characters")
    host = text.lower()
    if not host.isascii():
        try:
            host = idna.encode(text, uts46=True).decode()
        except UnicodeError as error:
            raise _invalid("has a host that is no name") from error
    labels = host.removesuffix(".").split(".")
    if not all(map(_LABEL.fullmatch, labels)):
        raise _invalid("has a host that is no name")
    host = ".".join(labels)
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            told = "an address is written as four decimal numbers; better give a name"
            raise Refused("ADDRESS_FORBIDDEN", told) from error
    return host


def _require_short(url: Url) -> Url:
    if len(str(url)) > URL_CHARACTERS_MAX:
        raise _invalid(f"has more than {URL_CHARACTERS_MAX} characters once it is encoded")
    return url


def _invalid(problem: str) -> Refused:
    return Refused("URL_INVALID", f"the address {problem}")
