"""What an HTTP request is addressed to, in the one spelling that everybody reads alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from chassis.errors import InvalidField
from chassis.fields import require_size

URL_BYTES_MAX = 8 * 1024
PARAMETERS_MAX = 256
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_CHARACTER = r"[A-Za-z0-9._~!$&'()*,;=:@-]|%[0-9A-F]{2}"
_URL = re.compile(
    rf"(?P<scheme>https?)://"
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*)(?P<port>:[1-9][0-9]{{0,4}})?"
    rf"(?P<path>/(?:{_CHARACTER}|/)*)?"
    rf"(?:\?(?P<query>(?:{_CHARACTER}|[/?])+))?"
)
# `%61` is `a`: a rule about `/admin` must not miss `/%61dmin`.
_NEEDLESS_ESCAPE = re.compile(r"%(?:2D|2E|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])")
_PORTS = {"http": ":80", "https": ":443"}
_PORT_MAX = 65_535
_HOST_CHARACTERS_MAX = 253
# The one place that plain HTTP may go to: nobody listens on the way.
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Target:
    """A method and a URL; `host` has the port where it is not the usual one.

    `path` is as it travels, percent-encoded; the names and values of `parameters` are decoded.
    """

    method: str
    scheme: str
    host: str
    path: str
    parameters: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def base_url(self) -> str:
        """The URL without its query."""
        return f"{self.scheme}://{self.host}{self.path}"

    def facts(self) -> Mapping[str, str]:
        """Return what a policy may look at."""
        return {"method": self.method, "host": self.host, "path": self.path}


def parse_target(method: str, url: str) -> Target:
    """Parse strictly: what has two spellings is refused, so that no rule can be talked around."""
    if method not in METHODS:
        raise InvalidField("method", f"is not one of {', '.join(METHODS)}")
    require_size("url", url, size_max=URL_BYTES_MAX)
    found = _URL.fullmatch(url)
    if not found or len(found["host"]) > _HOST_CHARACTERS_MAX:
        raise InvalidField(
            "url", "is no absolute URL in its plain form, such as 'https://api.x.com/2/tweets?a=b'"
        )
    scheme, host, port = found["scheme"], found["host"], found["port"] or ""
    if port == _PORTS[scheme] or int(port[1:] or 1) > _PORT_MAX:
        raise InvalidField("url", "has a port that is out of range or the usual one; leave it out")
    if scheme == "http" and host not in _LOOPBACK:
        raise InvalidField("url", "is not encrypted; http is only for this machine")
    if _NEEDLESS_ESCAPE.search(url):
        raise InvalidField("url", "escapes a letter, a digit or one of -._~; write it plainly")
    path = found["path"] or "/"
    _check_path(path)
    return Target(
        method=method,
        scheme=scheme,
        host=host + port,
        path=path,
        parameters=_parameters(found["query"]),
    )


def escape(text: str) -> str:
    """Percent-encode all but letters, digits and `-._~` (RFC 3986)."""
    return quote(text, safe="")


def _check_path(path: str) -> None:
    segments = path.split("/")[1:]
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        raise InvalidField("url", "has a path with '.', '..' or '//'; write where it leads")


def _parameters(query: str | None) -> tuple[tuple[str, str], ...]:
    if query is None:
        return ()
    pairs = query.split("&")
    if len(pairs) > PARAMETERS_MAX:
        raise InvalidField("url", f"has more than {PARAMETERS_MAX} parameters")
    parameters = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not name:
            raise InvalidField("url", "has a parameter without a name")
        parameters.append((_unescape(name), _unescape(value)))
    return tuple(parameters)


def _unescape(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidField("url", "has a parameter that is not UTF-8") from None
