"""Weights that PyTorch computes: loaded with Transformers, read and continued token by token."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import llguidance
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from ..conversation import Delta, Finished, Tokens
from .grammar import Exits, Grammars
from .sampling import Scores
from .template import ChatTemplate
from .writing import Writing

# A prompt is read in pieces of so many tokens, between which it can be given up.
CHUNK_TOKENS = 512


class TorchModel:
    """A model with its tokenizer, its template and its grammars; for one thread at a time."""

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        """Load a folder. Neither pickles nor code of a model are taken: those run here.

        Raises `OSError` and `ValueError`, as Transformers does.
        """
        disable_progress_bar()
        trusted = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(folder, **trusted)
        tokenizer = AutoTokenizer.from_pretrained(folder, **trusted)
        if not getattr(tokenizer, "is_fast", False) or tokenizer.eos_token_id is None:
            raise ValueError("it needs a tokenizer.json, with a token that ends a turn")
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, **trusted
        )
        self._model = model.to(device).eval()
        self._device = device
        self._tokenizer = tokenizer
        size = int(model.get_output_embeddings().weight.shape[0])
        ends = model.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        self.ends = frozenset({tokenizer.eos_token_id, *(end for end in listed if end is not None)})
        backend = tokenizer.backend_tokenizer
        grammars = llguidance.LLTokenizer(
            backend.to_str(), n_vocab=size, eos_token=sorted(self.ends)
        )
        self.pieces = [grammars.decode_bytes([token]) for token in range(size)]
        self.grammars = Grammars(grammars)
        self.exits = Exits(self.pieces)
        self.template = ChatTemplate(
            tokenizer.chat_template or "",
            bos=tokenizer.bos_token or "",
            eos=tokenizer.eos_token,
            controls=tokenizer.all_special_tokens,
        )
        self.context_tokens = int(getattr(config, "max_position_embeddings", 0) or 0)
        self.sha256 = _digest(folder)
        # Not every architecture can be continued; the others show it here.
        self.read(sorted(self.ends)[:1], None)

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a rendered conversation, control tokens included."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def write(
        self, tokens: Sequence[int], writing: Writing, is_cancelled: Callable[[], bool]
    ) -> Iterator[Delta | Finished]:
        """Yield deltas and the end, or less if it is cancelled."""
        bits = np.zeros((1, -(-len(self.pieces) // 32)), dtype=np.int32)
        cache, scores = None, None
        for start in range(0, len(tokens), CHUNK_TOKENS):
            if is_cancelled():
                return
            cache, scores = self.read(tokens[start : start + CHUNK_TOKENS], cache)
        assert scores is not None, "no prompt is empty"
        yield Delta("", Tokens(len(tokens)))
        written = writing.begin(tokens)
        while True:
            if text := writing.shown():
                yield Delta(text, Tokens(len(tokens), writing.written_count))
            if writing.is_finished:
                break
            if is_cancelled():
                return
            if written:
                cache, scores = self.read(written, cache)
            writing.mask(bits, ())
            written = writing.choose(scores, bits[0])
        yield writing.finish(Tokens(len(tokens), writing.written_count))

    def read(self, tokens: Sequence[int], cache: Any) -> tuple[Any, Scores]:  # noqa: ANN401  # without types
        """Return what was read so far, with these tokens, and the scores of what may follow."""
        ids = torch.tensor([list(tokens)], device=self._device)
        with torch.inference_mode():
            out = self._model(input_ids=ids, cache=cache, use_cache=True, logits_to_keep=1)
        scores: Scores = out.logits[0, -1].float().cpu().numpy()
        return out.cache, scores


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
