"""A price table as files: how they are sent to the gas system, which reads them, and written."""

from __future__ import annotations

from pathlib import Path

import yaml

from actionvm.gas.v1 import gas_pb2, prices_pb2
from chassis.canonical import Json

from .errors import CommandError
from .manifest import read_limited
from .meters import meter_name

# The limits of the contract: refused here, a large file does not travel first.
BYTES_MAX = 2 * 1024 * 1024
FILES_MAX = 100
WEIGHTS = ("complexity_permille", "inference_time_permille")


def find_price_files(path: Path) -> list[prices_pb2.PriceFile]:
    """Return a file, or all `.yaml` files of a folder, as they are."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not 1 <= len(files) <= FILES_MAX:
        raise CommandError(
            f"{path} has {len(files)} files .yaml; 1 to {FILES_MAX} are one price table",
            reason="FILE_UNUSABLE",
            field="FILE",
            fix="name a file, or a folder of price files",
        )
    return [
        prices_pb2.PriceFile(
            file=file.name, content=read_limited(file, BYTES_MAX, what=str(file), field="FILE")
        )
        for file in files
    ]


def write_price_file(table: gas_pb2.GetPriceTableResponse) -> str:
    """Return a table as a file that can be changed, and read again."""
    origins = sorted({(one.source_url, one.source_date) for one in table.prices if one.source_url})
    sources = {origin: f"source-{number}" for number, origin in enumerate(origins, start=1)}
    content: dict[str, Json] = {}
    if table.HasField("rate"):
        content["rate"] = {
            "micros_per_thousand_gas": table.rate.micros_per_thousand_gas,
            "currency": table.rate.currency,
        }
    if sources:
        content["sources"] = {
            name: {"url": url, "date": day} for (url, day), name in sources.items()
        }
    items: dict[str, dict[str, Json]] = {}
    for price in table.prices:
        item = items.setdefault(price.item, {})
        if price.source_url:
            item["source"] = sources[price.source_url, price.source_date]
        meter = meter_name(price.meter)
        if price.input_tokens_above:
            tier = item.setdefault(f"above {price.input_tokens_above}", {})
            assert isinstance(tier, dict), "tiers are mappings, which were made here"
            tier[meter] = price.gas_per_thousand
        else:
            item[meter] = price.gas_per_thousand
    content["prices"] = items
    if table.weights:
        content["weights"] = {weight.item: _weight_to_json(weight) for weight in table.weights}
    return yaml.safe_dump(content, sort_keys=False, width=100)


def _weight_to_json(weight: prices_pb2.Weight) -> Json:
    permille: dict[str, Json] = {name: getattr(weight, name) for name in WEIGHTS}
    if weight.frequencies:
        permille["frequencies"] = {one.calls_min: one.weight_permille for one in weight.frequencies}  # type: ignore[misc]  # YAML has numbers as keys
    return permille
