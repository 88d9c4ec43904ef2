"""Logins of mail servers: what follows `AUTH`, and where it may go."""

from __future__ import annotations

import base64

import pytest

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.smtp import SmtpLogin

from .samples import key_of, perform


def test_a_login_has_user_and_password_behind_zeros() -> None:
    made = perform(SmtpLogin("smtps://mail.example.com:465"), key_of(Kind.BASIC))
    word, _, login = made.values["AUTH"].partition(" ")
    assert (word, base64.b64decode(login)) == ("PLAIN", b"\0canary-user\0canary password")


def test_a_policy_sees_the_server() -> None:
    assert SmtpLogin("smtp://mail.example.com:587").facts() == {"host": "mail.example.com:587"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://mail.example.com:465",
        "smtps://mail.example.com:465/",
        "smtps://user@mail.example.com:465",
        "smtps://MAIL.example.com:465",
        "smtps://mail.example.com:465\n",
        "smtps://mail.example.com:99999",
        "smtps://mail.example.com?a=b",
    ],
)
def test_a_server_is_named_in_one_way(url: str) -> None:
    with pytest.raises(InvalidField, match="url"):
        SmtpLogin(url)
