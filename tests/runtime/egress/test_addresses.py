"""Which addresses may be asked: the internet, and nothing that only looks like it."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.egress import Refused
from runtime.egress.addresses import (
    URL_CHARACTERS_MAX,
    is_local,
    is_public,
    read_local,
    read_rules,
    read_url,
)

# Names for one machine: this one, or the metadata of a cloud.
ODD_HOSTS = [
    *("2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "017700000001", "127.0.1"),
    *("0x7f.0x0.0x0.0x1", "127.0.0.0x1", "00000127.0.0.1", "2852039166", "0xa9fea9fe", "1"),
    *("169.254.43518", "0251.0376.0251.0376", "127.0.0.1.1", "256.0.0.1", "4294967296", "0x"),
    "\uff12\uff11\uff13\uff10\uff17\uff10\uff16\uff14\uff13\uff13",
]
# What a resolver of C takes for 127.0.0.1 is written otherwise: here as it should be.
CIRCLED = "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460"
PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3"),
    *("192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:a00:1::", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2001::1", "2001:0:7f00:1::", "2001:db8::1"),
    *("2001:10::1", "2001:20::1", "3fff::1", "100::1", "5f00::1", "4000::1"),
]
PUBLIC = [
    *("8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111"),
    *("2a00:1450:4001::8a", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_of_the_internet_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=6))
def test_an_address_of_ipv6_with_one_of_ipv4_in_it_is_as_public_as_that(
    address: ipaddress.IPv6Address,
) -> None:
    inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | int(inner))
    assert is_public(mapped) == is_public(inner)


@given(st.ip_addresses())
def test_no_address_is_public_that_python_calls_anything_else(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address) and address.version == 4:
        kinds = (address.is_multicast, address.is_reserved, address.is_unspecified)
        assert address.is_global
        assert not any(kinds)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd12::1"])
def test_an_operator_may_lead_to_this_machine_and_its_network(address: str) -> None:
    assert is_local(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "0.0.0.0"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "224.0.0.1"),
    ],
)
def test_nobody_may_lead_to_where_a_cloud_tells_secrets(address: str) -> None:
    assert not is_local(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_an_address_is_written_in_one_way_only(host: str) -> None:
    with pytest.raises(Refused) as raised:
        read_url(f"http://{host}/")
    assert raised.value.reason == "ADDRESS_FORBIDDEN"


def test_the_odd_ways_to_write_an_address_are_understood_by_this_machine() -> None:
    # Or else the test above says nothing.
    for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "017700000001"):
        assert socket.inet_aton(host) == bytes([127, 0, 0, 1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1.", "127\u30020\u30020\u30021", CIRCLED])
def test_an_address_in_other_clothes_is_the_same_one(host: str) -> None:
    assert read_url(f"http://{host}/").literal == ipaddress.ip_address("127.0.0.1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "example.org", "//example.org", "ftp://example.org", "file:///etc/passwd"),
        *("http:example.org", "http:///", "http://", "http://:80", "javascript:alert(1)"),
        *("gopher://example.org/_GET", "https://example.org:port", "https://example.org:0"),
        *("https://example.org:65536", "https://example.org:80:80", "https://[::1", "https://]"),
        *("https://[::1]x", "https://[fe80::1%25eth0]/", "https://[127.0.0.1]/", "https://::1/"),
        *("http://user@example.org/", "http://user:key@example.org/", "http://a@b@c/"),
        *("http://example.org@10.0.0.1/", "http://@example.org/", "http://10.0.0.1:80@example.org"),
        *(
            "http://example.org\\@10.0.0.1/",
            "http:\\\\example.org",
            "http://example.org\\.evil.org",
        ),
        *("http://example.org/\r\nHost: evil", "http://example.org\n", " http://example.org"),
        *(
            "http://example.org/ x",
            "http://example.org/\t",
            "http://example.org/\x00",
            "ht\ntp://a",
        ),
        *("http://example.org/\x85", "http://exam ple.org", "http://example.org/\u2028"),
        *("http://exa%6dple.org/", "http://example..org/", "http://.example.org", "http://-/x"),
        *("http://*.example.org", "http://a,b", "http://" + "a" * 64 + ".org", "http://\u2488com"),
        *(
            "http://" + "a." * 130 + "org",
            "http://xn--a\u00fc.de",
            "http://\ud800/",
            "http://a/\ud800",
        ),
        "http://example.org/" + "a" * URL_CHARACTERS_MAX,
        # Encoded, it is too long.
        "http://example.org/" + "\u00fc" * (URL_CHARACTERS_MAX // 2),
    ],
)
def test_what_could_be_read_in_two_ways_is_no_address(text: str) -> None:
    with pytest.raises(Refused) as raised:
        read_url(text)
    assert raised.value.reason == "URL_INVALID"


def test_who_names_a_user_is_told_that_this_is_the_problem() -> None:
    with pytest.raises(Refused, match="user or a password"):
        read_url("http://example.org@10.0.0.1/")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("HTTPS://Example.ORG", "https://example.org/"),
        ("https://example.org.:443/a?b=c#d", "https://example.org/a?b=c"),
        ("http://example.org:8080?q", "http://example.org:8080/?q"),
        ("https://B\u00fccher.example/\u00fc", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://example.org/%2e%2e/a@b:c", "https://example.org/%2e%2e/a@b:c"),
        ("https://[2606:4700:0::1111]:8443/", "https://[2606:4700::1111]:8443/"),
        ("https://my_service.example.org/#@evil.org", "https://my_service.example.org/"),
    ],
)
def test_an_address_has_one_form(text: str, read: str) -> None:
    assert str(read_url(text)) == read


@pytest.mark.parametrize(
    ("rule", "url", "admits"),
    [
        ("example.org", "https://example.org/", True),
        ("example.org", "http://example.org/", True),
        ("EXAMPLE.org", "https://Example.ORG./", True),
        ("example.org", "https://example.org:8443/", False),
        ("example.org", "http://example.org:443/", False),
        ("example.org", "https://www.example.org/", False),
        ("example.org", "https://example.org.evil.com/", False),
        ("example.org", "https://evilexample.org/", False),
        ("example.org:8443", "https://example.org:8443/", True),
        ("example.org:8443", "https://example.org/", False),
        ("*.example.org", "https://a.b.example.org/", True),
        ("*.example.org", "https://example.org/", False),
        ("*.example.org", "https://evilexample.org/", False),
        ("*.example.org:8443", "https://a.example.org:8443/", True),
        ("b\u00fccher.example", "https://xn--bcher-kva.example/", True),
        # It looks the same, with a Cyrillic e.
        ("example.org", "https://\u0435xample.org/", False),
        ("example.org", "https://\uff45xample.org/", True),
        ("[2606:4700::1111]", "https://[2606:4700:0:0::1111]/", True),
    ],
)
def test_a_rule_admits_what_it_names(rule: str, url: str, *, admits: bool) -> None:
    [read] = read_rules([rule])
    assert read.admits(read_url(url)) == admits


@pytest.mark.parametrize(
    "rule",
    ["", "*", "*.org", "**.example.org", "a.*.org", "*.0.0.1", "*.[::1]", "a b", "a/b", "a@b"],
)
def test_a_rule_that_is_too_wide_or_none_is_refused(rule: str) -> None:
    with pytest.raises(Refused):
        read_rules([rule])


@pytest.mark.parametrize(
    "text", ["localhost", "*.example.org:80", "a:0", "127.1:80", "http://a:80"]
)
def test_an_operator_names_a_host_and_a_port(text: str) -> None:
    with pytest.raises(Refused):
        read_local(text)


def test_a_service_of_an_operator_has_one_form() -> None:
    assert read_local("LocalHost:8080") == ("localhost", 8080)
    assert read_local("[0::1]:8080") == ("::1", 8080)
