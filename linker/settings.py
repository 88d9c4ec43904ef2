"""Where models come from, as an operator writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RateBudget:
    """What one key may ask for; 0 for as much as it likes."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    in_flight_max: int = 0


@dataclass(frozen=True)
class ModelSettings:
    """What is known of a model that its provider does not tell; 0 and None where nothing is."""

    context_tokens: int = 0
    takes_images: bool | None = None
    takes_actions: bool | None = None
    embedding_dimensions: int = 0


@dataclass(frozen=True)
class ProviderSettings:
    """One provider: `name` is the part of a model before the slash, `kind` says who speaks to it.

    `url` is empty for the public one of its kind. `options` are for the kind to understand, such as
    `region`. `connect_seconds` bounds the connection, `silence_seconds` each wait for more.
    """

    name: str
    kind: str
    url: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    rate: RateBudget = RateBudget()
    connect_seconds: float = 10.0
    silence_seconds: float = 60.0
