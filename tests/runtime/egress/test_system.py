"""The egress of this machine: it looks names up, and calls what it found."""

from __future__ import annotations

import socket

import pytest

from runtime.config import LOCAL_SERVICES_MAX, RuntimeConfig
from runtime.egress import Address, Refused, Request, Unreached
from runtime.egress.addresses import read_rules
from runtime.egress.system import open_egress
from tests.fakes.internet import OK, Site

PEERS = ("assembler", "linker", "keymanager", "knowledge", "gas")
CONFIG = {
    **{f"{peer}_address": "a:1" for peer in PEERS},
    "tls": "off",
    "listen": "127.0.0.1:1",
    "data_dir": "data",
    "identities_file": "identities.json",
}


def configured(allow: str) -> RuntimeConfig:
    """Return settings with services that may be asked although they are private."""
    return RuntimeConfig.model_validate({**CONFIG, "egress_allow": allow})


async def test_a_service_of_this_machine_is_asked_if_the_operator_says_so() -> None:
    async with Site({"/": OK}).listening() as site:
        name = f"localhost:{site.port}"
        request, rules = Request("GET", f"http://{name}/"), read_rules([name])
        async with open_egress(configured(f" {name}, ").local_services) as egress:
            answer = await egress.ask(request, rules, bytes_max=9)
        assert answer.body == b"ok"
        async with open_egress(configured("").local_services) as egress:
            with pytest.raises(Refused, match="ADDRESS_FORBIDDEN"):
                await egress.ask(request, rules, bytes_max=9)
    assert len(site.heads) == 1


@pytest.mark.parametrize(
    ("number", "told"), [(socket.EAI_NONAME, Refused), (socket.EAI_AGAIN, Unreached)]
)
async def test_a_name_that_does_not_exist_is_another_thing_than_a_look_up_that_failed(
    number: int, told: type[Exception]
) -> None:
    def look_up(host: str, port: int) -> list[Address]:
        raise socket.gaierror(number, f"{host}:{port}")

    async with open_egress((), look_up=look_up) as egress:
        with pytest.raises(told):
            await egress.ask(Request("GET", "http://a.org/"), read_rules(["a.org"]), bytes_max=9)


@pytest.mark.parametrize(
    "allow",
    ["localhost", "*.lan:80", "a:b", "a:80;b:80", ",".join(["a:80"] * (LOCAL_SERVICES_MAX + 1))],
)
def test_an_operator_who_errs_is_told_at_the_start(allow: str) -> None:
    with pytest.raises(ValueError, match="egress_allow"):
        configured(allow)
