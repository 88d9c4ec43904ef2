"""Actions that tell people and programs something, where they are: one message for one call."""

from __future__ import annotations

from chassis.clock import Clock

from ...egress.client import Egress
from ...ports import Signer
from .. import Connector
from .discord import DiscordPost
from .mail import MailSend
from .slack import SlackPost
from .telegram import TelegramSend
from .webhook import WebhookSend


def message_actions(egress: Egress, signer: Signer, clock: Clock) -> tuple[Connector, ...]:
    """Return all of them."""
    return (
        DiscordPost(egress, signer),
        MailSend(egress, signer),
        SlackPost(egress, signer),
        TelegramSend(egress, signer),
        WebhookSend(egress, signer, clock),
    )
