"""Writes the babbler: word order counted on one page of text, stored as a LLaMA in a GGUF file.

The babbler is a bigram table: the next token depends on the last one only. A LLaMA says exactly
that when its block adds nothing to the residual stream and its embeddings are one-hot: the hidden
state is then the last token, and `output.weight` holds one column of log probabilities for each.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import pathlib
from collections import Counter
from collections.abc import Sequence

import gguf
import numpy as np
from numpy.typing import NDArray

HERE = pathlib.Path(__file__).parent
CONTEXT_LENGTH = 4096
HEAD_LENGTH = 32
FEED_FORWARD_LENGTH = 32
RMS_EPSILON = 1e-5

END_OF_TURN = "<|im_end|>"
SPECIALS = ("<unk>", "<s>", "</s>", "<|im_start|>", END_OF_TURN)

# What may follow a sentence. A newline and the end of a turn cannot stand inside a JSON string, so
# there the small remainder decides: the string closes, or a sentence follows on the same line.
END_SHARE = 0.6
NEWLINE_SHARE = 0.39
CLOSE_SHARE = 0.0075
SAME_LINE_SHARE = 0.0025

# Nobody says these unless a grammar leaves nothing better. What closes wins over a comma, a comma
# over what opens, that over the rest: so lists and numbers end even at temperature zero.
FLOOR = 1e-9
LAST_RESORTS = dict.fromkeys((END_OF_TURN, *'"}]:'), 1e-6) | {",": 5e-7}
LAST_RESORTS |= dict.fromkeys("{[0123456789", 1e-7)
JSON_OPENERS = "{["
JSON_FIRST = '"{'
JSON_FIRST_SHARE = 0.01

Sentence = tuple[str, ...]
Table = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens in the byte alphabet of GPT-2, where every byte is one printable character."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    def find(self, text: str) -> int:
        """Return the id of the token that reads `text`, which must be ASCII or a special."""
        return self.tokens.index(text if text in SPECIALS else _tobyte_alphabet(text))


def write_babbler(output: pathlib.Path, text: str, seed: int = 0) -> None:
    """Write the GGUF file. The same text and seed give the same bytes.

    The seed only fills matrices whose result is multiplied by zero: the arithmetic of attention is
    done for real, and changes nothing.
    """
    sentences = read_sentences(text)
    vocabulary = learn_vocabulary(sentences)
    table = next_token_table(sentences, vocabulary)
    # A reader never finds half a model under the final name.
    unfinished = output.with_name(output.name + ".part")
    writer = gguf.GGUFWriter(unfinished, "llama")
    _add_tokenizer(writer, vocabulary)
    _add_tensors(writer, table, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(output)


def read_sentences(text: str) -> tuple[Sentence, ...]:
    """Split one sentence per line into its words; the full stop is implied from here on."""
    sentences = []
    for line in text.splitlines():
        words = tuple(line.removesuffix(".").split(" "))
        if not line.endswith(".") or not all(w.isascii() and w.isalpha() for w in words):
            raise ValueError(f"not a sentence of plain words: {line!r}")
        sentences.append(words)
    return tuple(sentences)


def learn_vocabulary(sentences: Sequence[Sentence]) -> Vocabulary:
    """Merge pairs, the most frequent first, until every word of the text is one token."""
    counts: Counter[str] = Counter()
    for first, *rest in sentences:
        counts.update([first, " " + first, *(" " + word for word in rest)])
    pieces = {word: tuple(_tobyte_alphabet(word)) for word in counts}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in counts.items():
            for pair in itertools.pairwise(pieces[word]):
                pairs[pair] += count
        if not pairs:
            break
        # The pair itself decides between equals: the order of a Counter must not show.
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        pieces = {word: _merge(pieces[word], best) for word in counts}
    merged = [left + right for left, right in merges]
    return Vocabulary(tokens=(*SPECIALS, *byte_alphabet(), *merged), merges=tuple(merges))


def next_token_table(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> Table:
    """Return P(next | last) as `table[last, next]`: rows sum to one, no entry is zero."""
    find = vocabulary.find
    period, newline, quote = find("."), find("\n"), find('"')
    table = _count_pairs(sentences, vocabulary)
    table /= table.sum(axis=1, keepdims=True)

    table[period] *= SAME_LINE_SHARE
    table[period, [find(END_OF_TURN), newline, quote]] = END_SHARE, NEWLINE_SHARE, CLOSE_SHARE
    _end_greedy_walks(table, period)

    table[table < FLOOR] = FLOOR
    for text, share in LAST_RESORTS.items():
        table[:, find(text)] = np.maximum(table[:, find(text)], share)
    for opener in JSON_OPENERS:
        table[find(opener), [find(text) for text in JSON_FIRST]] = JSON_FIRST_SHARE
        table[find(opener), [find("]"), find("}")]] = FLOOR
    table /= table.sum(axis=1, keepdims=True)
    return table


def _count_pairs(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> Table:
    """Count which token follows which; every row has a successor."""
    find, size = vocabulary.find, len(vocabulary.tokens)
    counts = np.zeros((size, size))
    for first, *rest in sentences:
        following = [*(find(" " + word) for word in rest), find(".")]
        # The first word is another token after a space than at the start of a line.
        for start in (find(first), find(" " + first)):
            for last, successor in itertools.pairwise([start, *following]):
                counts[last, successor] += 1
    # After a token that the text does not have, any of its words will do.
    counts[counts.sum(axis=1) == 0] = counts.sum(axis=0)
    # A sentence begins after these, without a space, and after the full stop, with one.
    openers = [find(text) for text in '\n" ']
    counts[[*openers, find(".")]] = 0
    for first, *_ in sentences:
        counts[openers, find(first)] += 1
        counts[find("."), find(" " + first)] += 1
    return counts


def _end_greedy_walks(table: Table, period: int) -> None:
    """Let every walk along the likeliest successors end: who closes a circle ends the sentence."""
    for start in range(len(table)):
        seen: set[int] = set()
        token = start
        while token != period:
            seen.add(token)
            successor = int(table[token].argmax())
            if successor in seen:
                table[token, period] = 1.1 * table[token, successor]
                successor = period
            token = successor


def _merge(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of the pair, from the left."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)


@functools.cache
def byte_alphabet() -> tuple[str, ...]:
    """Return the character that stands for each byte; unprintable bytes borrow from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    borrowed = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(borrowed)) for byte in range(256))


def _tobyte_alphabet(text: str) -> str:
    return "".join(byte_alphabet()[byte] for byte in text.encode())


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    kinds = gguf.TokenType
    types = [kinds.CONTROL if token in SPECIALS else kinds.NORMAL for token in vocabulary.tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types([int(kind) for kind in types])
    writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    writer.add_unk_token_id(vocabulary.find("<unk>"))
    writer.add_bos_token_id(vocabulary.find("<s>"))
    writer.add_eos_token_id(vocabulary.find(END_OF_TURN))
    writer.add_eot_token_id(vocabulary.find(END_OF_TURN))
    writer.add_add_bos_token(value=False)
    writer.add_add_eos_token(value=False)
    writer.add_chat_template((HERE / "chatml.jinja").read_text(encoding="utf-8"))


def _add_tensors(writer: gguf.GGUFWriter, table: Table, random: np.random.Generator) -> None:
    vocabulary_size = len(table)
    width = -(-vocabulary_size // 64) * 64  # kernels like rows of whole vectors
    writer.add_name("babbler")
    writer.add_description("Word order counted on one page of text. It knows nothing.")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_vocab_size(vocabulary_size)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD_LENGTH)
    writer.add_value_length(HEAD_LENGTH)
    writer.add_rope_dimension_count(HEAD_LENGTH)
    writer.add_feed_forward_length(FEED_FORWARD_LENGTH)
    writer.add_layer_norm_rms_eps(RMS_EPSILON)

    def add(name: str, matrix: NDArray[np.floating]) -> None:
        # Norms stay F32, or llama.cpp refuses the file.
        kind = np.float32 if matrix.ndim == 1 else np.float16
        writer.add_tensor(name + ".weight", matrix.astype(kind))

    # One-hot rows of mean square 1 pass the norm unchanged; its weight then scales the one to 1.
    add("token_embd", np.eye(vocabulary_size, width) * np.sqrt(width))
    add("output_norm", np.full(width, 1 / np.sqrt(width)))
    add("output", np.pad(np.log(table).T, ((0, 0), (0, width - vocabulary_size))))
    add("blk.0.attn_norm", np.ones(width))
    for name in ("attn_q", "attn_k", "attn_v"):
        add(f"blk.0.{name}", random.normal(0, 0.02, (HEAD_LENGTH, width)))
    add("blk.0.attn_output", np.zeros((width, HEAD_LENGTH)))
    add("blk.0.ffn_norm", np.ones(width))
    for name in ("ffn_gate", "ffn_up"):
        add(f"blk.0.{name}", random.normal(0, 0.02, (FEED_FORWARD_LENGTH, width)))
    add("blk.0.ffn_down", np.zeros((width, FEED_FORWARD_LENGTH)))


def main() -> None:
    """Write the model that the arguments name."""
    parser = argparse.ArgumentParser(description="Write the babbler as a GGUF file.")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    text = (HERE / "babbler.txt").read_text(encoding="utf-8")
    write_babbler(arguments.output, text, arguments.seed)


if __name__ == "__main__":
    main()
