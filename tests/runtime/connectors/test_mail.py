"""Mail: what arrives, for whom, and that a password goes over TLS to its server only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from pydantic import JsonValue

from keymanager.uses.smtp import SmtpLogin
from runtime.connectors import Result, Unsent
from runtime.connectors.messages.mail import MailSend
from tests.fakes.certificates import identity
from tests.fakes.internet import Internet
from tests.fakes.mail import FakeMail
from tests.runtime.connectors.stand import CANARY, ORDER, CanarySigner, check_result, shows_key

SETTINGS: dict[str, JsonValue] = {
    "host": "mail.test",
    "from": "crier@b.test",
    "to": ["c@d.test", "e@f.test"],
}
STARTTLS: dict[str, JsonValue] = {**SETTINGS, "security": "starttls"}


class Post:
    """The action before a mail server."""

    def __init__(self, mail: FakeMail, internet: Internet) -> None:
        self.mail = mail
        self.internet = internet
        self.signer = CanarySigner()
        self.settings = SETTINGS

    async def send(self, subject: str = "Prices", text: str = "Ether gained.") -> Result:
        """Send a message."""
        action = MailSend(self.internet.egress(), self.signer)
        arguments: dict[str, JsonValue] = {"subject": subject, "text": text}
        order = replace(
            ORDER, arguments=arguments, settings=self.settings, credential="secrets/mail"
        )
        result = await action.perform(order)
        check_result(action, result)
        return result


@asynccontextmanager
async def serving(
    folder: Path, *, name: str = "mail.test", late: bool = False
) -> AsyncIterator[Post]:
    """Run a mail server with TLS from the beginning, or late."""
    offered, trusted = identity(folder, x509.DNSName(name))
    mail, internet = FakeMail(password=CANARY), Internet(tls=trusted)
    mail.starttls = offered if late else None
    internet.put("mail.test", mail)
    async with mail.listening(tls=None if late else offered):
        post = Post(mail, internet)
        post.settings = STARTTLS if late else SETTINGS
        yield post


@pytest.mark.parametrize("late", [False, True])
async def test_a_message_arrives_for_all_whom_the_author_names(
    tmp_path: Path, *, late: bool
) -> None:
    text = ".\r\n..\n.dots, Gr\u00fc\u00dfe\n" + "x" * 3_000
    async with serving(tmp_path, late=late) as post:
        result = await post.send("Gr\u00fc\u00dfe \U0001f680", text)
    [(people, message)] = post.mail.messages
    assert people == ["<c@d.test>", "<e@f.test>"]
    assert (message["From"], message["To"]) == ("crier@b.test", "c@d.test, e@f.test")
    assert message["Subject"] == "Gr\u00fc\u00dfe \U0001f680"
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert content.decode().split() == text.split()
    assert isinstance(result.value, dict)
    assert result.value["message_id"] == message["Message-ID"]
    assert message["Message-ID"].endswith("@b.test>")
    assert message["Date"] == "Thu, 01 Jan 2026 00:00:00 +0000"
    port = 587 if late else 465
    assert post.internet.dialled[0][1] == port
    [wanted] = post.signer.authorized
    assert SmtpLogin(wanted.url).facts() == {"host": f"mail.test:{port}"}


async def test_the_same_order_is_the_same_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as post:
        for _ in range(2):
            await post.send()
    (_, first), (_, second) = post.mail.messages
    assert first.as_bytes() == second.as_bytes()


async def test_without_tls_no_password_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path, late=True) as post:
        post.mail.refuses = {"EHLO": "250 mail.test"}
        assert (await post.send()).reason == "TLS_MISSING"
        post.mail.refuses = {"STARTTLS": "454 not now"}
        post.mail.starttls = None
        post.mail.offers = ("STARTTLS", "AUTH PLAIN")
        with pytest.raises(Unsent):
            await post.send()
    assert "AUTH" not in post.mail.commands
    assert not shows_key(post.mail.heard)


async def test_a_server_that_is_somebody_else_hears_no_password(tmp_path: Path) -> None:
    for late in (False, True):
        async with serving(tmp_path, name="other.test", late=late) as post:
            assert (await post.send()).reason == "CERTIFICATE_INVALID"
            assert not shows_key(post.mail.heard)


async def test_what_is_put_behind_starttls_in_the_clear_is_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path, late=True) as post:
        # Read as the reply to the second EHLO, it would say that there is no AUTH.
        post.mail.injected = b"250 evil.test\r\n"
        assert not (await post.send()).reason


@pytest.mark.parametrize(
    ("command", "reply", "reason"),
    [
        ("EHLO", "550 5.7.1 no", "SERVER_REFUSED"),
        ("AUTH", "535 5.7.8 sk-canary-0123456789abcdef", "NOT_AUTHORIZED"),
        ("MAIL", "553 5.1.8 not yours", "SENDER_REFUSED"),
        ("RCPT", "550 5.1.1 nobody", "RECIPIENT_REFUSED"),
        ("DATA", "554 5.7.1 spam", "MESSAGE_REFUSED"),
    ],
)
async def test_a_refusal_says_at_what(
    tmp_path: Path, command: str, reply: str, reason: str
) -> None:
    async with serving(tmp_path) as post:
        post.mail.refuses = {command: reply}
        result = await post.send()
    assert result.reason == reason
    assert not shows_key(str(result.value).encode())
    assert not post.mail.messages


@pytest.mark.parametrize("command", ["EHLO", "AUTH", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["451 4.7.1 later", "no reply", "250-" + "x" * 70_000])
async def test_what_did_not_come_to_its_end_is_unsent(
    tmp_path: Path, command: str, reply: str
) -> None:
    async with serving(tmp_path) as post:
        post.mail.refuses = {command: reply}
        with pytest.raises(Unsent):
            await post.send()
    assert not post.mail.messages


async def test_a_server_without_a_login_that_we_know_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as post:
        post.mail.offers = ("AUTH CRAM-MD5 LOGIN",)
        assert (await post.send()).reason == "LOGIN_MISSING"


async def test_a_server_of_this_machine_is_not_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as post:
        post.internet.names["mail.test"] = [["127.0.0.1"]]
        assert (await post.send()).reason == "ADDRESS_FORBIDDEN"
        assert not post.mail.arrived
