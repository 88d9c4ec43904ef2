"""A model of this machine in memory, with all that answering takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelUnusable
from .gguf import BadGguf, read_header
from .grammar import Exits, Grammars
from .llama import LlamaModel, LoadFailed, start_llama
from .settings import ANYWHERE, Placement
from .template import ChatTemplate, TemplateFailed


@dataclass(frozen=True)
class Weights:
    """A loaded file. The grammars point into the model and must not outlive it."""

    sha256: str
    model: LlamaModel
    grammars: Grammars
    template: ChatTemplate
    exits: Exits


def load_weights(
    name: str, path: Path, *, placement: Placement = ANYWHERE, adapter: Path | None = None
) -> Weights:
    """Load a file, which takes a while. Raises `ModelUnusable`."""
    try:
        header = read_header(path)
        if adapter is not None:
            read_header(adapter, is_adapter=True)
        start_llama()
        model = LlamaModel(path, placement, adapter=adapter)
        return Weights(
            sha256=hash_of(*filter(None, (path, adapter))),
            model=model,
            grammars=Grammars(model.make_tokenizer()),
            template=ChatTemplate(
                header.chat_template,
                bos=_text(model, model.bos),
                eos=_text(model, model.eos),
                controls=[_text(model, token) for token in sorted(model.controls)],
            ),
            exits=Exits(model.pieces),
        )
    except (BadGguf, LoadFailed, TemplateFailed, OSError) as error:
        raise ModelUnusable(f"local/{name}", f"{error}") from error


def hash_of(*paths: Path) -> str:
    """Return the SHA-256 of a file; of several, that of their own."""
    found = []
    for path in paths:
        with path.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _text(model: LlamaModel, token: int) -> str:
    return model.pieces[token].decode("utf-8", "replace") if token >= 0 else ""
