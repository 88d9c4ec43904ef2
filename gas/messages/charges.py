"""Holds, entries, receipts and sums in messages."""

from __future__ import annotations

from collections.abc import Sequence

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import budgets_pb2, gas_pb2
from chassis import fields
from chassis.canonical import sha256_hex

from .. import ledger, texts
from ..chain import CALLERS_MAX, Caller
from ..entries import Entry, Fee, Kind
from .usages import timestamp_to_proto, usages_to_proto

_HOLD_STATES = {
    ledger.HoldState.OPEN: gas_pb2.Hold.STATE_OPEN,
    ledger.HoldState.SETTLED: gas_pb2.Hold.STATE_SETTLED,
    ledger.HoldState.RELEASED: gas_pb2.Hold.STATE_RELEASED,
    ledger.HoldState.EXPIRED: gas_pb2.Hold.STATE_EXPIRED,
}


def callers_from_proto(callers: Sequence[action_pb2.Caller]) -> tuple[Caller, ...]:
    """Return who called an agent, or refuse them."""
    fields.require_size("callers", callers, size_min=0, size_max=CALLERS_MAX)
    return tuple(
        Caller(
            texts.account(f"callers[{i}].account", caller.account),
            texts.run(caller.run, field=f"callers[{i}].run"),
        )
        for i, caller in enumerate(callers)
    )


def hold_to_proto(hold: ledger.Hold) -> gas_pb2.Hold:
    """Return a hold."""
    return gas_pb2.Hold(
        name=hold.name,
        account=hold.reservation.account,
        run=hold.reservation.run,
        item=hold.reservation.item,
        state=_HOLD_STATES[hold.state],
        gas=hold.gas,
        charged_gas=hold.charged_gas,
        create_time=timestamp_to_proto(hold.create_time),
        expire_time=timestamp_to_proto(hold.expire_time),
        refunded_gas=hold.refunded_gas,
        callers=(
            action_pb2.Caller(account=caller.account, run=caller.run)
            for caller in hold.reservation.callers
        ),
    )


_KINDS = {
    Kind.CHARGE: gas_pb2.Entry.KIND_CHARGE,
    Kind.CORRECTION: gas_pb2.Entry.KIND_CORRECTION,
    Kind.REFUND: gas_pb2.Entry.KIND_REFUND,
    Kind.FEE: gas_pb2.Entry.KIND_FEE,
}


def entry_to_proto(entry: Entry) -> gas_pb2.Entry:
    """Return an entry."""
    return gas_pb2.Entry(
        sequence=entry.sequence,
        debit_account=entry.debit_account,
        credit_account=entry.credit_account,
        gas=entry.gas,
        chain_hash=entry.chain_hash,
        create_time=timestamp_to_proto(entry.create_time),
        kind=_KINDS[entry.kind],
        hold=entry.hold,
        item=entry.item,
        usages=usages_to_proto(entry.usages),
        price_version=entry.price_version,
        line=entry.line,
        cause=entry.cause,
        fee=_fee_to_proto(entry.fee) if entry.fee else None,
    )


def _fee_to_proto(fee: Fee) -> budgets_pb2.Fee:
    return budgets_pb2.Fee(run=fee.run, micros=fee.micros, currency=fee.currency)


def charge_to_proto(entry: Entry) -> action_pb2.Charge:
    """Return an entry as a charge, whose gas is negative where it is returned."""
    return action_pb2.Charge(
        line=entry.line,
        item=entry.item,
        usages=usages_to_proto(entry.usages),
        gas=entry.gas_charged,
        price_version=entry.price_version,
    )


def receipt_to_proto(receipt: ledger.Receipt) -> action_pb2.Receipt:
    """Return a receipt with its digest."""
    charges = (
        action_pb2.Charge(
            line=line,
            item=charge.item,
            usages=usages_to_proto(charge.usages),
            gas=charge.gas,
            price_version=charge.price_version,
        )
        for line, charge in enumerate(receipt.charges, start=1)
    )
    content = receipt.canonical
    return action_pb2.Receipt(
        run=receipt.run,
        account=receipt.account,
        charges=charges,
        total_gas=receipt.total_gas,
        digest=action_pb2.Digest(sha256=sha256_hex(content), size_bytes=len(content)),
    )


def consumption_to_proto(consumption: ledger.Consumption) -> gas_pb2.UsageRow:
    """Return a row of usage."""
    return gas_pb2.UsageRow(
        account=consumption.account,
        item=consumption.item,
        usages=usages_to_proto(consumption.usages),
        gas=consumption.gas,
        charge_count=consumption.charge_count,
    )
