"""Shows a run as it happens: live on a terminal, in lines elsewhere, as JSON for programs."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from actionvm.assembler.v1 import assembler_pb2
from actionvm.runtime.v1 import runtime_pb2

from .client import problem_from_proto
from .output import clean, console, describe_problem, print_json, spelled, to_json
from .render import (
    describe_assembly,
    describe_event,
    describe_progress,
    gas_of,
    render_end,
    render_receipt,
)

# Of a text that is being written the end is shown: a live region cannot scroll.
LIVE_TEXT_LENGTH_MAX = 600
LIVE_REFRESHES_PER_SECOND = 12


class View(Protocol):
    """Where the events of an assembly and of a run go."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def note(self, text: str) -> None:
        """Say something for people."""

    def progress(self, progress: assembler_pb2.Progress) -> None:
        """Show that a stage of the assembly begins."""

    def assembled(self, assembly: assembler_pb2.Assembly) -> None:
        """Show what was assembled."""

    def run(self, run: runtime_pb2.Run) -> None:
        """Show that the run was accepted."""

    def event(self, event: runtime_pb2.WatchRunResponse) -> None:
        """Show what happened in the run."""

    def end(self, run: str, finished: runtime_pb2.RunFinished, flaw: str) -> None:
        """Show the end of the run; `flaw` is what is wrong with the receipt."""

    def detached(self, run: str) -> None:
        """Say that nobody looks any more, and that the run goes on."""


def choose_view(*, as_json: bool) -> View:
    """Return the view that fits standard output."""
    if as_json:
        return JsonView()
    return LiveView() if sys.stdout.isatty() else LineView()


class JsonView:
    """One JSON document per line, each an object with one key that says what it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def progress(self, progress: assembler_pb2.Progress) -> None:
        print_json({"progress": to_json(progress)})

    def assembled(self, assembly: assembler_pb2.Assembly) -> None:
        print_json({"assembly": to_json(assembly)})

    def run(self, run: runtime_pb2.Run) -> None:
        print_json({"run": to_json(run)})

    def event(self, event: runtime_pb2.WatchRunResponse) -> None:
        print_json({"event": to_json(event)})

    def end(self, run: str, finished: runtime_pb2.RunFinished, flaw: str) -> None:
        end = {"run": run, **to_json(finished)}
        end |= {"receipt_verified": not flaw, "receipt_flaw": flaw}
        print_json({"end": end})

    def detached(self, run: str) -> None:
        print_json({"detached": {"run": run}})


class LineView:
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._console = console()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        self._console.print(Text(clean(spelled(text)), "dim"))

    def progress(self, progress: assembler_pb2.Progress) -> None:
        self._console.print(describe_progress(progress))

    def assembled(self, assembly: assembler_pb2.Assembly) -> None:
        for warning in assembly.warnings:
            self._console.print(describe_problem(problem_from_proto(warning)))
        self._console.print(describe_assembly(assembly))

    def run(self, run: runtime_pb2.Run) -> None:
        self._console.print(Text.assemble((f"{'run':<10} ", "bold cyan"), run.name))

    def event(self, event: runtime_pb2.WatchRunResponse) -> None:
        line = describe_event(event)
        if line is not None:
            self._console.print(line)

    def end(self, run: str, finished: runtime_pb2.RunFinished, flaw: str) -> None:
        self._console.print()
        self._console.print(render_end(finished))
        self._console.print()
        if finished.HasField("receipt"):
            self._console.print(render_receipt(finished.receipt, flaw))
        self.note(f"look closer: actionvm show {run}")

    def detached(self, run: str) -> None:
        self._console.print(f"the run goes on: {run}")
        self._console.print(spelled(f"  watch it again: actionvm watch {run}"))
        self._console.print(spelled(f"  cancel it:      actionvm cancel {run}"))


class LiveView(LineView):
    """Lines that stay, and below them what happens now: the stage, the text, the gas so far."""

    def __init__(self) -> None:
        super().__init__()
        self._doing = "connecting"
        self._text = ""
        self._gas = 0
        self._spinner = Spinner("dots")
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=LIVE_REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def progress(self, progress: assembler_pb2.Progress) -> None:
        self._doing = progress.detail or "assembling"
        super().progress(progress)
        self._live.refresh()

    def event(self, event: runtime_pb2.WatchRunResponse) -> None:
        if event.HasField("delta"):
            self._doing = f"step {event.delta.step}: the model writes"
            self._text = (self._text + event.delta.text)[-LIVE_TEXT_LENGTH_MAX:]
            return
        self._doing = "running"
        self._text = ""
        self._gas += gas_of(event)
        super().event(event)
        self._live.refresh()

    def end(self, run: str, finished: runtime_pb2.RunFinished, flaw: str) -> None:
        self._live.stop()
        super().end(run, finished, flaw)

    def _render(self) -> RenderableType:
        status = Text(clean(f"{self._doing} · {self._gas} gas so far"), "cyan")
        self._spinner.update(text=status)
        if not self._text:
            return self._spinner
        return Group(Text(clean(self._text), "italic"), self._spinner)
