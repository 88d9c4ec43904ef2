"""Price tables in messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actionvm.action.v1 import action_pb2
from actionvm.gas.v1 import gas_pb2, prices_pb2
from chassis import fields
from chassis.errors import InvalidField
from chassis.problems import Problem

from .. import price_rules
from ..price_archive import Listed
from ..price_file import BYTES_MAX, FILES_MAX, PriceFile, parse_prices
from ..price_problems import PriceFileInvalid
from ..price_schedule import Scheduled, Update
from ..prices import DEFAULT_RATE, Price, PriceTable, Rate, Source, Weight, table_of
from .usages import METERS, time_from_proto, timestamp_to_proto

FILE_CHARACTERS_MAX = 256


def update_from_proto(request: gas_pb2.UpdatePriceTableRequest) -> Update:
    """Return a table to schedule, or refuse it."""
    request_id = fields.require_request_id(request.request_id)
    time = None
    if request.HasField("effective_time"):
        time = time_from_proto("effective_time", request.effective_time)
    return Update(request_id, _table_from_proto(request), request.HasField("rate"), time)


def _table_from_proto(request: gas_pb2.UpdatePriceTableRequest) -> PriceTable:
    fields.require_size("prices", request.prices, size_max=price_rules.PRICES_MAX)
    fields.require_size("weights", request.weights, size_min=0, size_max=price_rules.WEIGHTS_MAX)
    rate = _rate_from_proto(request.rate) if request.HasField("rate") else DEFAULT_RATE
    prices = _prices_from_proto(request.prices)
    table = table_of(prices, rate=rate, weights=_weights_from_proto(request.weights))
    for item, problem in price_rules.tier_problems(table):
        line = next(i for i, price in enumerate(prices) if price.item == item)
        raise InvalidField(f"prices[{line}]", problem)
    return table


def files_from_proto(messages: Sequence[prices_pb2.PriceFile]) -> list[PriceFile]:
    """Return files to read, or refuse them."""
    fields.require_size("files", messages, size_max=FILES_MAX)
    size = sum(len(message.content) for message in messages)
    if size > BYTES_MAX:
        raise InvalidField("files", f"have {size} bytes; at most {BYTES_MAX} are allowed")
    for i, message in enumerate(messages):
        field = f"files[{i}].file"
        fields.require_size(field, message.file, size_max=FILE_CHARACTERS_MAX)
        _require(field, "" if message.file.isprintable() else "holds what cannot be printed")
    return [PriceFile(message.file, message.content) for message in messages]


def read_files(files: Sequence[PriceFile]) -> gas_pb2.ReadPriceFilesResponse:
    """Return what files say, or what is wrong with them."""
    try:
        found = parse_prices(files)
    except PriceFileInvalid as error:
        return gas_pb2.ReadPriceFilesResponse(problems=map(_problem_to_proto, error.problems))
    table = found.table
    return gas_pb2.ReadPriceFilesResponse(
        update=gas_pb2.UpdatePriceTableRequest(
            prices=map(_price_to_proto, table.prices),
            rate=_rate_to_proto(table.rate) if found.has_rate else None,
            weights=_weights_to_proto(table),
        )
    )


def _problem_to_proto(problem: Problem) -> action_pb2.Problem:
    return action_pb2.Problem(
        severity=action_pb2.Problem.SEVERITY_ERROR,
        code=problem.code,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        field=problem.field,
        message=problem.message,
        fix=problem.fix,
    )


def _prices_from_proto(lines: Sequence[gas_pb2.Price]) -> list[Price]:
    prices, known = [], set()
    for i, line in enumerate(lines):
        price = _price_from_proto(f"prices[{i}]", line)
        key = (price.item, price.meter, price.input_tokens_above)
        if key in known:
            raise InvalidField(f"prices[{i}]", "came before; each item has one price of a meter")
        known.add(key)
        prices.append(price)
    return prices


def _price_from_proto(field: str, price: gas_pb2.Price) -> Price:
    _require(f"{field}.item", price_rules.item_problem(price.item))
    if price.meter not in METERS:
        raise InvalidField(f"{field}.meter", "is required, such as METER_INPUT_TOKENS")
    for name, value, most in (
        ("gas_per_thousand", price.gas_per_thousand, price_rules.GAS_PER_THOUSAND_MAX),
        ("input_tokens_above", price.input_tokens_above, price_rules.TOKENS_ABOVE_MAX),
    ):
        fields.require_range(f"{field}.{name}", value, least=0, most=most)
    source = None
    if price.source_url or price.source_date:
        _require(f"{field}.source_url", price_rules.url_problem(price.source_url))
        _require(f"{field}.source_date", price_rules.date_problem(price.source_date))
        source = Source(price.source_url, price.source_date)
    return Price(
        price.item,
        METERS[price.meter],
        price.gas_per_thousand,
        price.input_tokens_above,
        source,
    )


def _weights_from_proto(weights: Sequence[prices_pb2.Weight]) -> list[Weight]:
    parsed: list[Weight] = []
    for i, message in enumerate(weights):
        weight = Weight(
            message.item,
            message.complexity_permille,
            message.inference_time_permille,
            tuple((one.calls_min, one.weight_permille) for one in message.frequencies),
        )
        field, problem = price_rules.weight_problem(weight)
        _require(f"weights[{i}].{field}", problem)
        if any(weight.item == before.item for before in parsed):
            raise InvalidField(f"weights[{i}].item", "came before; each item has one weight")
        parsed.append(weight)
    return parsed


def _rate_from_proto(message: prices_pb2.Rate) -> Rate:
    rate = Rate(message.micros_per_thousand_gas, message.currency)
    for field, problem in price_rules.rate_problems(rate):
        raise InvalidField(f"rate.{field}", problem)
    return rate


def _require(field: str, problem: str) -> None:
    if problem:
        raise InvalidField(field, problem)


def price_table_to_proto(scheduled: Scheduled, table: PriceTable) -> gas_pb2.GetPriceTableResponse:
    """Return a table and when it comes into force."""
    return gas_pb2.GetPriceTableResponse(
        version=table.version,
        prices=map(_price_to_proto, table.prices),
        rate=_rate_to_proto(table.rate),
        weights=_weights_to_proto(table),
        effective_time=timestamp_to_proto(scheduled.effective_time),
    )


def _price_to_proto(price: Price) -> gas_pb2.Price:
    source = price.source or Source("", "")
    return gas_pb2.Price(
        item=price.item,
        meter=action_pb2.Usage.Meter.Value(price.meter.value),
        gas_per_thousand=price.gas_per_thousand,
        input_tokens_above=price.input_tokens_above,
        source_url=source.url,
        source_date=source.date,
    )


def _rate_to_proto(rate: Rate) -> prices_pb2.Rate:
    return prices_pb2.Rate(
        micros_per_thousand_gas=rate.micros_per_thousand_gas, currency=rate.currency
    )


def _weights_to_proto(table: PriceTable) -> Iterator[prices_pb2.Weight]:
    return (_weight_to_proto(weight) for _, weight in sorted(table.weights.items()))


def _weight_to_proto(weight: Weight) -> prices_pb2.Weight:
    return prices_pb2.Weight(
        item=weight.item,
        complexity_permille=weight.complexity_permille,
        inference_time_permille=weight.inference_time_permille,
        frequencies=(
            prices_pb2.Weight.Frequency(calls_min=calls, weight_permille=permille)
            for calls, permille in weight.frequencies
        ),
    )


def listed_to_proto(listed: Listed) -> prices_pb2.ScheduledPriceTable:
    """Return a line of the schedule."""
    scheduled = listed.scheduled
    return prices_pb2.ScheduledPriceTable(
        version=scheduled.version,
        effective_time=timestamp_to_proto(scheduled.effective_time),
        create_time=timestamp_to_proto(scheduled.create_time),
        in_force=listed.in_force,
        price_count=scheduled.price_count,
        from_file=scheduled.is_from_file,
    )


def cost_to_proto(gas: int, rate: Rate) -> prices_pb2.Money:
    """Return what gas is in money."""
    return prices_pb2.Money(micros=rate.micros(gas), currency=rate.currency)
