"""Trains the model: every batch is made from its number, so a run resumes where it stopped."""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # what everybody calls it
from numpy.typing import NDArray
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from .actions import Novelty
from .export import read_gguf
from .generate import make_dialogue
from .network import Network, Shape
from .prompt import training_text
from .tokenizer import Tokenizer, learn_tokenizer, read_tokenizer

MERGES = 1_200
TOKENIZER_DIALOGUES = 3_000
# How much the first token of a turn counts: it decides whether to act, to ask or to decline.
CHOICE_WEIGHT = 4.0
# Each step has one exercise in saying tokens again, any of them: most are rare in the dialogues.
EXERCISE_TURNS, EXERCISE_TOKENS_MAX = 6, 12
# A batch is cut into rectangles of dialogues of like length, of at most so many tokens each.
RECTANGLE_TOKENS = 4_096
TOKENS_MAX = 2_048
WARM_UP_STEPS = 60
MATRIX_RATE = 4e-3
REST_RATE = 3e-3
# How much a token of a prompt counts in the curriculum: it repeats itself, so it is an exercise.
PROMPT_WEIGHT = 0.1
RATE_LEAST = 0.03
# Where the learning rate has fallen, as shares of the plan: it rises again, to a part of what it
# was. The mean of the networks that it ends with has about half of the errors of each.
ENDS = (0.6, 0.8, 1.0)
RATE_AGAIN = 0.6
WEIGHT_DECAY = 0.05
REPORT_STEPS = 200
SAVE_STEPS = 200
PROBES = 60


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is to do; the batches depend on `seed`, `dialogues` and `curriculum` only."""

    seed: int
    dialogues: int
    curriculum: int
    minutes: float
    tokens: int
    rate: float


class Trainer:
    """A network in training, with all that a checkpoint keeps."""

    def __init__(self, folder: Path, shape: Shape, tokenizer: Tokenizer, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.plan, self.tokenizer, self.folder = plan, tokenizer, folder
        self.network = Network(shape).to(self.device)
        self.optimizers = _optimizers(self.network)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.ends: list[dict[str, Tensor]] = []
        if self._checkpoint.exists():
            self._resume()

    def start(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Begin with weights of an earlier training, unless this one has begun already."""
        if self.step == 0:
            tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
            self.network.load_state_dict(tensors)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def progress(self) -> float:
        """Return which share of the plan is done."""
        return self.tokens / self.plan.tokens

    def run(self) -> None:
        """Train until the plan is done. Ending the process loses at most the last few steps."""
        columns = (
            *Progress.get_default_columns(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        loss_mean = 0.0
        with Progress(*columns, refresh_per_second=1) as bar:
            task = bar.add_task("training", total=1.0, now="")
            while (done := self.progress()) < 1 and self.seconds < 60 * self.plan.minutes:
                started = time.monotonic()
                share = self.plan.rate * _schedule(self.step, done)
                for optimizer, rate in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = rate * share
                loss = self._learn()
                loss_mean = loss if loss_mean == 0 else 0.97 * loss_mean + 0.03 * loss
                bar.update(task, completed=done, now=f"step {self.step}, loss {loss_mean:.3f}")
                if self.step % REPORT_STEPS == 0:
                    bar.console.print(self._report(loss_mean))
                self.seconds += time.monotonic() - started
                if any(done < end <= self.progress() for end in ENDS):
                    weights = self.network.state_dict()
                    self.ends.append({name: one.clone() for name, one in weights.items()})
                if self.step % SAVE_STEPS == 0:
                    self.save()
        self._report(loss_mean)
        self.save()

    def _learn(self) -> float:
        """Take one step and return its loss per token."""
        # The first half of the curriculum is as easy as it gets; then it is ever less so.
        ease = min(1.0, max(0.0, 2 * (1 - self.step / self.plan.curriculum)))
        seeds = (f"{self.plan.seed}/{self.step}/{n}" for n in range(self.plan.dialogues))
        rectangles = self._rectangles(seeds, ease)
        spoken = sum(int(mask.sum()) for _, mask in rectangles)
        total = 0.0
        for tokens, mask in rectangles:
            wanted = mask if ease == 0 else mask | (tokens != self.tokenizer.end)
            scores, targets = self._scores(tokens, wanted)
            losses = F.cross_entropy(scores, targets, reduction="none") / spoken
            is_spoken = mask[:, 1:][wanted[:, 1:]]
            weights = torch.where(is_spoken, 1.0, PROMPT_WEIGHT)
            weights[(tokens[:, :-1] == self.tokenizer.assistant)[wanted[:, 1:]]] = CHOICE_WEIGHT
            (weights * losses).sum().backward()
            total += losses[is_spoken].sum().item()
            self.tokens += int((tokens != self.tokenizer.end).sum())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer, _ in self.optimizers:
            optimizer.step()
        self.network.zero_grad(set_to_none=True)
        self.step += 1
        return total

    def _scores(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            scores = self.network(tokens[:, :-1], mask[:, 1:])
        return scores.float(), tokens[:, 1:][mask[:, 1:]]

    def _rectangles(self, seeds: Iterable[str], ease: float) -> list[tuple[Tensor, Tensor]]:
        """Return tokens and what to learn of them, padded to the longest of each rectangle."""
        texts = (training_text(make_dialogue(seed, ease=ease).conversation) for seed in seeds)
        encoded = sorted([*map(self.tokenizer.encode, texts), self._exercise()], key=len)
        assert len(encoded[-1]) <= TOKENS_MAX, "the generator writes short dialogues"
        rows: list[list[int]] = []
        made = []
        for ids in encoded:
            if rows and len(ids) * (len(rows) + 1) > RECTANGLE_TOKENS:
                made.append(self._rectangle(rows))
                rows = []
            rows.append(ids)
        return [*made, self._rectangle(rows)]

    def _exercise(self) -> list[int]:
        dice = random.Random(f"{self.plan.seed}/{self.step}/exercise")  # noqa: S311  # no secret
        ids = self.tokenizer.encode("<|system|>Say it again.<|end|>")
        for _ in range(EXERCISE_TURNS):
            said = dice.choices(self.tokenizer.plain, k=dice.randint(2, EXERCISE_TOKENS_MAX))
            for speaker in (self.tokenizer.user, self.tokenizer.assistant):
                ids += [speaker, *said, self.tokenizer.end]
        return ids

    def _rectangle(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        tokens = torch.full((len(rows), width), self.tokenizer.end)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for index, ids in enumerate(rows):
            tokens[index, : len(ids)] = torch.tensor(ids)
            mask[index, : len(ids)] = torch.tensor(self.tokenizer.spoken(ids))
        return tokens.to(self.device), mask.to(self.device)

    @torch.no_grad()
    def _report(self, loss: float) -> str:
        """Append to the curve how many whole turns the likeliest tokens get right.

        Columns: minutes, steps, tokens, loss; turns of probes in known and in held-out words.
        """
        known = self._exact(Novelty())
        new = self._exact(Novelty(wordings=True, entities=True, actions=True))
        line = f"{self.seconds / 60:.1f}\t{self.step}\t{self.tokens}\t{loss:.4f}\t{known}\t{new}"
        with (self.folder / "curve.tsv").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        return line

    def _exact(self, novelty: Novelty) -> str:
        seeds = (f"probe/{n}" for n in range(PROBES))
        by_kind: dict[str, list[bool]] = {}
        for seed in seeds:
            dialogue = make_dialogue(seed, novelty)
            ids = self.tokenizer.encode(training_text(dialogue.conversation))
            tokens, mask = self._rectangle([ids])
            scores, targets = self._scores(tokens, mask)
            right = (scores.argmax(-1) == targets).tolist()
            ends = [
                i + 1 for i, token in enumerate(targets.tolist()) if token == self.tokenizer.end
            ]
            for turn, start, end in zip(dialogue.turns, [0, *ends], ends, strict=False):
                by_kind.setdefault(turn.kind.value, []).append(all(right[start:end]))
        return " ".join(f"{k}={sum(v)}/{len(v)}" for k, v in sorted(by_kind.items()))

    def save(self) -> None:
        """Write a checkpoint; a reader never finds half of one."""
        unfinished = self._checkpoint.with_suffix(".part")
        torch.save(
            {
                "shape": dataclasses.asdict(self.network.shape),
                "network": self.network.state_dict(),
                "ends": self.ends,
                "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
                "counts": (self.step, self.tokens, self.seconds),
            },
            unfinished,
        )
        unfinished.replace(self._checkpoint)

    def _resume(self) -> None:
        kept = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(kept["network"])
        self.ends = kept["ends"]
        for (optimizer, _), state in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.tokens, self.seconds = kept["counts"]


def _optimizers(network: Network) -> tuple[tuple[torch.optim.Optimizer, float], ...]:
    """Return what updates which parameters, with the learning rate of each.

    Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for the embedding and norms.
    """
    matrices = [p for p in network.blocks.parameters() if p.ndim > 1]
    norms = [p for p in network.parameters() if p.ndim == 1]
    rest = [
        {"params": [network.embedding.weight]},
        {"params": norms, "weight_decay": 0.0},
    ]
    muon = torch.optim.Muon(
        matrices, lr=MATRIX_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(rest, lr=REST_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    return (muon, MATRIX_RATE), (adam, REST_RATE)


def _schedule(step: int, done: float) -> float:
    """Return the share of the learning rate: up, then flat and down, half of each part."""
    up = min(1.0, (step + 1) / WARM_UP_STEPS)
    starts = (0.0, *ENDS[:-1])
    part = max(number for number, start in enumerate(starts) if done >= start)
    start, end = starts[part], ENDS[part]
    high = RATE_AGAIN if part else 1.0
    return up * max(RATE_LEAST, high * min(1.0, 2 * (end - done) / (end - start)))


def main() -> None:
    """Train, or go on training, in a folder."""
    parser = argparse.ArgumentParser(description="Train actionvm-tiny.")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoint, curve, tokenizer")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then, to go on later")
    parser.add_argument("--tokens", type=int, default=80_000_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dialogues", type=int, default=12, help="in one step")
    parser.add_argument("--curriculum", type=int, default=800, help="steps until it is hard")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1.0, help="share of the learning rates")
    parser.add_argument(
        "--start", type=Path, help="GGUF file to begin with: its weights, its words"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "tokenizer.json"
    weights = None
    if arguments.start is not None:
        weights, tokenizer = read_gguf(arguments.start)
        tokenizer.write(path)
    if not path.exists():
        texts = (
            training_text(make_dialogue(f"tokenizer/{n}").conversation)
            for n in range(TOKENIZER_DIALOGUES)
        )
        learn_tokenizer(texts, merge_count=MERGES).write(path)
    tokenizer = read_tokenizer(path)
    width = arguments.width
    shape = Shape(
        len(tokenizer.tokens), width, arguments.layers, feed_forward=width * 8 // 3 // 32 * 32
    )
    plan = Plan(
        seed=arguments.seed,
        dialogues=arguments.dialogues,
        curriculum=arguments.curriculum,
        minutes=arguments.minutes,
        tokens=arguments.tokens,
        rate=arguments.rate,
    )
    trainer = Trainer(arguments.folder, shape, tokenizer, plan)
    if weights is not None:
        trainer.start(weights)
    trainer.run()


if __name__ == "__main__":
    main()
