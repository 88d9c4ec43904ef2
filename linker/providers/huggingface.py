"""Models of Hugging Face: those that its router knows, and endpoints of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import ModelNotFound
from ..links import ListedModel
from ..settings import ModelSettings, ProviderSettings
from .known import Known, told_of
from .openai import OpenAiProvider
from .openai_servers import COMPATIBLE, show

ROUTER = "https://router.huggingface.co/v1"
# What may follow a model of the router besides the name of a provider.
_POLICIES = ("fastest", "cheapest", "preferred")


class HuggingFaceProvider(OpenAiProvider):
    """The router, or with a URL an endpoint, such as `https://….endpoints.huggingface.cloud/v1`.

    A model is `owner/name`, and with `owner/name:provider` that of one provider. Options:
    `constrains_output` is `true` for an endpoint that keeps to schemas.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(replace(settings, kind=COMPATIBLE, url=settings.url or ROUTER))
        self.needs = "a token"

    async def models(self) -> list[ListedModel]:
        """Return none: the router has more than anybody reads."""
        return []

    async def look_up(self, model: str, secret: str) -> Known:
        """Ask for a model. The router says of each provider what it can do, and an endpoint not."""
        name, _, wanted = model.partition(":")
        page = await self.client.models.list(extra_headers=show(self.settings, secret))
        found = next((one for one in page.data if one.id == name), None)
        offers = (found.model_extra or {}).get("providers") if found else None
        if not isinstance(offers, list):
            return await super().look_up(model, secret)
        live = [offer for offer in offers if _serves(offer, wanted)]
        if not live:
            raise ModelNotFound(f"{self.settings.name}/{model}")
        known = _known(live, found.model_extra or {} if found else {})
        settings = self.settings.models.get(model, ModelSettings())
        if settings.takes_actions is None and not all(one.get("supports_tools") for one in live):
            settings = replace(settings, takes_actions=False)
            models = {**self.settings.models, model: settings}
            self.settings = replace(self.settings, models=models)
        return told_of(self.settings, model, known)


def _serves(offer: Mapping[str, object], wanted: str) -> bool:
    is_wanted = wanted in ("", *_POLICIES) or offer.get("provider") == wanted
    return is_wanted and offer.get("status") == "live"


def _known(offers: list[Mapping[str, object]], model: Mapping[str, object]) -> Known:
    """Return what all providers can do: which of them answers is not known before."""
    lengths = [offer.get("context_length") for offer in offers]
    known = [length for length in lengths if isinstance(length, int)]
    architecture = model.get("architecture")
    reads = architecture.get("input_modalities", ()) if isinstance(architecture, Mapping) else ()
    return Known(
        context_tokens=min(known, default=0),
        takes_images="image" in reads,
        constrains=all(offer.get("supports_structured_output") is True for offer in offers),
    )
