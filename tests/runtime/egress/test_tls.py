"""Whoever answers over TLS proves to be the host that was named, whatever address that has."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from runtime.egress import Answer, Refused, Request, Unreached
from runtime.egress import client as client_module
from runtime.egress.addresses import read_rules
from tests.fakes.certificates import NAME, identity
from tests.fakes.internet import OK, OTHER, PUBLIC, Internet, Site, redirecting


async def ask(internet: Internet, url: str) -> Answer:
    """Ask for something over TLS."""
    rules = read_rules([NAME, "other.example.org", PUBLIC])
    return await internet.egress().ask(Request("GET", url), rules, bytes_max=100)


async def test_the_name_is_checked_although_an_address_is_called(tmp_path: Path) -> None:
    offered, trusted = identity(tmp_path, x509.DNSName(NAME))
    shown: list[str | None] = []
    offered.sni_callback = lambda _socket, name, _context: shown.append(name)
    internet = Internet(tls=trusted)
    async with Site({"/": OK}).listening(tls=offered) as site:
        internet.put(NAME, site)
        internet.put("other.example.org", site, OTHER)
        assert (await ask(internet, f"https://{NAME}/")).body == b"ok"
        with pytest.raises(Refused, match="CERTIFICATE_INVALID"):
            await ask(internet, "https://other.example.org/")
    assert shown == [NAME, "other.example.org"]
    assert len(site.heads) == 1, "nothing is sent to who is somebody else"


async def test_an_address_can_have_a_certificate_as_well(tmp_path: Path) -> None:
    named = x509.IPAddress(ipaddress.ip_address(PUBLIC))
    offered, trusted = identity(tmp_path, named)
    async with Site({"/": OK}).listening(tls=offered) as site:
        internet = Internet(sites={PUBLIC: site}, tls=trusted)
        assert (await ask(internet, f"https://{PUBLIC}/")).body == b"ok"


async def test_who_is_trusted_by_nobody_is_not_asked(tmp_path: Path) -> None:
    offered, _ = identity(tmp_path, x509.DNSName(NAME))
    internet = Internet(tls=ssl.create_default_context())
    async with Site({"/": OK}).listening(tls=offered) as site:
        internet.put(NAME, site)
        with pytest.raises(Refused, match="CERTIFICATE_INVALID"):
            await ask(internet, f"https://{NAME}/")
    assert site.heads == []


async def test_who_speaks_no_tls_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_SECONDS_MAX", 0.2)
    internet = Internet(tls=ssl.create_default_context())
    async with Site({"/": OK}).listening() as site:
        internet.put(NAME, site)
        with pytest.raises(Unreached):
            await ask(internet, f"https://{NAME}/")


async def test_a_redirect_does_not_leave_tls(tmp_path: Path) -> None:
    offered, trusted = identity(tmp_path, x509.DNSName(NAME))
    internet = Internet(tls=trusted)
    async with Site({"/": redirecting(f"http://{NAME}/")}).listening(tls=offered) as site:
        internet.put(NAME, site)
        with pytest.raises(Refused, match="REDIRECT_FORBIDDEN"):
            await ask(internet, f"https://{NAME}/")
    assert internet.dialled == [(PUBLIC, 443)]
