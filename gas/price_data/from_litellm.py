"""Makes price files from the table of LiteLLM: `python -m gas.price_data.from_litellm FILE DAY`.

FILE is `model_prices_and_context_window_backup.json` of its package, and DAY the day on which it
was read. Only rows that name the provider's own page are taken, and only prices that our meters can
count; what LiteLLM gives in dollars per token becomes gas at the packaged rate, rounded up.

That file is outside LiteLLM's folder `enterprise/`, so it is under the MIT License, which stands
beside this file as `LICENSE-litellm` and goes wherever the price files go.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TypeAlias

from ..prices import DEFAULT_RATE

URL = (
    "https://github.com/BerriAI/litellm/blob/main/litellm/"
    "model_prices_and_context_window_backup.json"
)
NOTICE = (
    "From LiteLLM's price table (MIT License, Copyright (c) 2023 Berri AI; see LICENSE-litellm)"
)

# Their provider -> the prefix of their names, and our provider.
PROVIDERS = {
    "openai": ("", "openai"),
    "anthropic": ("", "anthropic"),
    "gemini": ("gemini/", "google"),
    "bedrock": ("bedrock/", "bedrock"),
    "bedrock_converse": ("bedrock/", "bedrock"),
    "azure": ("azure/", "azure"),
    "azure_ai": ("azure_ai/", "azure"),
}
TEXT_MODES = {"chat", "completion", "responses"}
# Names that stand for something else than one model at one price for text.
SKIPPED = re.compile(r"audio|realtime|commitment|ft:|-x-|\*|[^!-~]")
TIER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")

Row: TypeAlias = Mapping[str, object]


def main(arguments: list[str]) -> int:
    """Write a file for each provider beside this one."""
    path, day = arguments
    rows = json.loads(Path(path).read_text(), parse_float=Decimal, parse_int=Decimal)
    found: dict[str, dict[str, str]] = {}
    for name, row in rows.items():
        prefix, provider = PROVIDERS.get(str(row.get("litellm_provider")), ("", ""))
        model = name.removeprefix(prefix)
        line = _line(row) if provider and row.get("source") and not SKIPPED.search(name) else ""
        if line:
            known = found.setdefault(provider, {}).setdefault(model, line)
            if known != line:
                # Two prices for one name: neither is sure.
                found[provider][model] = ""
    for provider, lines in found.items():
        _write(provider, {model: line for model, line in lines.items() if line}, day)
    return 0


def _write(provider: str, lines: Mapping[str, str], day: str) -> None:
    text = [f"# {NOTICE}.", "sources:", f"  litellm: {{url: {URL}, date: {day}}}", "prices:"]
    text += [f"  model {provider}/{model}: {line}" for model, line in sorted(lines.items())]
    Path(__file__).with_name(f"{provider}.yaml").write_text("\n".join([*text, ""]))


def _line(row: Row) -> str:
    """Return the prices of a model as they stand in a price file; empty if none are sure."""
    match row.get("mode"):
        case "embedding":
            prices = {"embedding_tokens": _gas(row, "input_cost_per_token")}
        case "image_generation":
            is_plain = "input_cost_per_token" not in row and "input_cost_per_pixel" not in row
            prices = {"images": _gas(row, "output_cost_per_image") if is_plain else 0}
        case mode if mode in TEXT_MODES:
            return _text_line(row)
        case _:
            return ""
    if not all(prices.values()):
        return ""
    return _flow({**prices, "source": "litellm"})


def _text_line(row: Row) -> str:
    if "input_cost_per_second" in row or "output_cost_per_second" in row:
        return ""
    prices = _text_prices(row, "")
    if not prices["input_tokens"] or not prices["output_tokens"]:
        return ""
    parts: dict[str, object] = dict(prices)
    for tokens in sorted(_tiers(row)):
        parts[f"above {tokens * 1000}"] = _flow(_text_prices(row, f"_above_{tokens}k_tokens"))
    return _flow({**parts, "source": "litellm"})


def _text_prices(row: Row, suffix: str) -> dict[str, int]:
    reads = _gas(row, f"input_cost_per_token{suffix}")
    writes = _gas(row, f"output_cost_per_token{suffix}")
    # Where a provider has no price of its own for these, they are read or written like others.
    return {
        "input_tokens": reads,
        "cached_input_tokens": _gas(row, f"cache_read_input_token_cost{suffix}") or reads,
        # Some rows say less than for reading, which nobody charges.
        "cache_write_tokens": max(_gas(row, f"cache_creation_input_token_cost{suffix}"), reads),
        "output_tokens": writes,
        "reasoning_tokens": _gas(row, f"output_cost_per_reasoning_token{suffix}") or writes,
    }


def _tiers(row: Row) -> Iterator[int]:
    return (int(found[1]) for key in row if (found := TIER.fullmatch(key)))


def _gas(row: Row, field: str) -> int:
    """Return gas per 1,000 units of what costs this many dollars per unit; 0 if it has no price."""
    dollars = row.get(field)
    if not isinstance(dollars, Decimal):
        return 0
    micros_per_thousand = dollars * 10**6 * 1_000
    gas = micros_per_thousand * 1_000 / DEFAULT_RATE.micros_per_thousand_gas
    return int(gas.to_integral_value(ROUND_CEILING))


def _flow(parts: Mapping[str, object]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in parts.items())}}}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
