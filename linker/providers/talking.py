"""What models that only talk say to those who want embeddings of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..embedding import Embedded, Ranked
from ..errors import ModelUnusable


class OnlyTalks:
    """The half of `OpenModel` that a model without embeddings has; `name` is `provider/model`."""

    name: str

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Refuse."""
        raise ModelUnusable(self.name, "it makes no embeddings; link a model that does")

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Refuse."""
        raise ModelUnusable(self.name, "it orders no documents; link a model that does")
