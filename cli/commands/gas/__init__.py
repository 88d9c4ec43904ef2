"""The commands for what agents may spend, did spend, and cost their users."""

from __future__ import annotations

from collections.abc import Callable

from ...command import Command, group
from . import budget, entries, fees, prices, quote, usage, watch, webhook

app = group("See, limit, price and bill what agents spend.")

commands: dict[str, Callable[..., None]] = {
    "usage": usage.usage,
    "quote": quote.quote,
    "tenant": budget.tenant,
    "entries": entries.entries,
    "refund": entries.refund,
    "drift": entries.drift,
    "bill": fees.bill,
    "watch": watch.watch,
    "reports": webhook.reports,
}
for name, command in commands.items():
    app.command(name, cls=Command)(command)
for name, part in {
    "prices": prices.app,
    "budget": budget.app,
    "fees": fees.fees_app,
    "dao": fees.dao_app,
    "webhook": webhook.app,
}.items():
    app.add_typer(part, name=name)
