"""The actions that come with the runtime."""

from __future__ import annotations

import httpx

from chassis.clock import SystemClock

from ..egress.client import Egress
from ..ports import Knowledge, Signer
from . import Connector
from .asking import asking_action
from .board import BoardPost
from .cdp import cdp_actions
from .evm import evm_actions
from .farcaster import farcaster_actions
from .knowledge import KnowledgeSearch
from .messages import message_actions
from .s3 import s3_actions
from .waiting import waiting_actions
from .web import WebGet, WebSend
from .webpages import WebFeed, WebPage
from .x import x_actions


def catalogue(
    http: httpx.AsyncClient,
    knowledge: Knowledge,
    signer: Signer,
    egress: Egress,
    *others: Connector,
) -> dict[str, Connector]:
    """Return the connectors of this runtime, and others, by the names of their actions."""
    connectors: list[Connector] = [
        BoardPost(http, signer),
        KnowledgeSearch(knowledge),
        *waiting_actions(),
        asking_action(),
        WebGet(egress),
        WebSend(egress),
        WebPage(egress),
        WebFeed(egress),
        *s3_actions(egress, signer),
        *x_actions(egress, signer),
        *cdp_actions(egress, signer),
        *evm_actions(egress, signer),
        *farcaster_actions(egress, signer),
        *message_actions(egress, signer, SystemClock()),
        *others,
    ]
    return {connector.descriptor.name: connector for connector in connectors}
