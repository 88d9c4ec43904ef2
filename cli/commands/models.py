"""The commands for what agents think with: models list, add, pull, remove."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path
from typing import Annotated

import psutil
import typer
from grpc import aio
from rich.text import Text

from actionvm.linker.v1 import linker_pb2 as pb

from ..client import Client, Retrying, all_pages, command_error
from ..command import AsJson, Command, Yes, ask, confirm, group
from ..errors import ExitCode
from ..output import clean, console, error_console, print_json, table, to_json
from ..transfer import Transfer, bytes_text, choose_transfer

SUFFIX = ".gguf"
LOCAL = "local/"

ModelName = Annotated[
    str, typer.Argument(metavar="NAME", help="Such as llama-3-8b, or local/llama-3-8b.")
]
ModelFile = Annotated[Path, typer.Argument(metavar="PATH", help="A GGUF file of this machine.")]
Repository = Annotated[
    str, typer.Argument(metavar="REPOSITORY", help="On the hub of Hugging Face: owner/name.")
]
HubFile = Annotated[str, typer.Argument(metavar="FILE", help="A GGUF file of the repository.")]
NameOption = Annotated[
    str, typer.Option("--name", help="Name for agents; without it, that of the file.")
]
Revision = Annotated[str, typer.Option("--revision", help="Branch, tag or commit; else main.")]
Sha256 = Annotated[
    str, typer.Option("--sha256", help="What the file must have; else what the hub says it has.")
]

app = group("See, add and remove the models that agents can use.")


@app.callback()
def models() -> None:
    """See, add and remove the models that agents can use."""


@app.command("list", cls=Command)
def list_models(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the models that are there. Memory is an estimate, for the context of this system.

    Example: actionvm models list
    """
    found = ask(context, _read_models)
    if as_json:
        print_json({"models": [to_json(model) for model in found]})
        return
    columns = ("model", "kind", "parameters", "quantised", "context", "size", "memory", "licence")
    right = ("parameters", "context", "size", "memory")
    made = table(*columns, "", rows=map(_row, found), right=right)
    console().print(made if found else "there are no models yet; see: models pull --help")


@app.command("add", cls=Command)
def add(
    context: typer.Context, path: ModelFile, *, name: NameOption = "", as_json: AsJson = False
) -> None:
    """Let agents use a GGUF file: as a second name for it, or as a copy from another disk.

    Example: actionvm models add ~/Downloads/Llama-3.2-3B-Instruct-Q4_K_M.gguf --name llama-3.2-3b
    """
    source = path.expanduser().absolute()
    model = model_name(name or source.name.removesuffix(SUFFIX))
    request = pb.AddModelRequest(model=model, path=str(source))

    async def transfer(client: Client) -> pb.Model:
        return await _transfer(
            client, model, lambda: client.linker.stub.AddModel(request), as_json=as_json
        )

    _tell_new(ask(context, transfer), as_json=as_json)


@app.command("pull", cls=Command)
def pull(
    context: typer.Context,
    repository: Repository,
    file: HubFile,
    *,
    revision: Revision = "",
    name: NameOption = "",
    sha256: Sha256 = "",
    as_json: AsJson = False,
) -> None:
    """Fetch a GGUF file from the hub of Hugging Face. What was interrupted is continued.

    Private and gated repositories need a token: .venv/bin/hf auth login, or HF_TOKEN in the
    environment of the command up.

    Example: actionvm models pull bartowski/Llama-3.2-1B-Instruct-GGUF --name llama-3.2-1b \
    Llama-3.2-1B-Instruct-Q8_0.gguf
    """
    model = model_name(name or file.rpartition("/")[2].removesuffix(SUFFIX))
    request = pb.PullModelRequest(
        model=model, repository=repository, file=file, revision=revision, sha256=sha256.lower()
    )

    async def transfer(client: Client) -> pb.Model:
        return await _transfer(
            client, model, lambda: client.linker.stub.PullModel(request), as_json=as_json
        )

    try:
        found = ask(context, transfer)
    except KeyboardInterrupt as interrupt:
        error_console().print("interrupted; what has arrived is kept: the same command continues")
        raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
    _tell_new(found, as_json=as_json)


@app.command("remove", cls=Command)
def remove(
    context: typer.Context, name: ModelName, *, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Remove a model for good. Agents that use it fail until they are given another one.

    Example: actionvm models remove llama-3-8b --yes
    """
    model = model_name(name)
    if not yes:
        confirm(f"Remove {model} for good?", refusal=f"{model} was not removed")
    request = pb.RemoveModelRequest(model=model)

    async def drop(client: Client) -> None:
        await client.linker(lambda stub: stub.RemoveModel(request))

    ask(context, drop)
    if as_json:
        print_json({"removed": model})
    else:
        console().print(f"{model} is gone")


def model_name(text: str) -> str:
    """Return the full name of a model of this machine, which may be given without `local/`."""
    return text if text.startswith(LOCAL) else f"{LOCAL}{text}"


async def _read_models(client: Client) -> list[pb.Model]:
    def fetch(token: str) -> Awaitable[pb.ListModelsResponse]:
        request = pb.ListModelsRequest(page_token=token)
        return client.linker(lambda stub: stub.ListModels(request))

    return await all_pages(fetch, lambda page: page.models)


async def _transfer(
    client: Client,
    model: str,
    start: Callable[[], AsyncIterable[pb.AddModelResponse | pb.PullModelResponse]],
    *,
    as_json: bool,
) -> pb.Model:
    """Bring a model in, through restarts of the linker, and return it."""
    with choose_transfer(model, as_json=as_json) as view:
        await _follow(client, start, view)
    (found,) = [listed for listed in await _read_models(client) if listed.name == model]
    return found


async def _follow(
    client: Client,
    start: Callable[[], AsyncIterable[pb.AddModelResponse | pb.PullModelResponse]],
    view: Transfer,
) -> None:
    peer = client.linker
    retrying = Retrying(peer.patience_seconds)
    while True:
        try:
            async for step in start():
                retrying.restart()
                view.show(step.received_bytes, step.total_bytes)
        except aio.AioRpcError as error:
            told = command_error(error, peer.name, peer.address)
            # That the hub does not answer is news; that the linker does not may pass.
            if told.reason != "UNREACHABLE" or not await retrying.is_worth_it(error):
                raise told from error
        else:
            return


def _tell_new(model: pb.Model, *, as_json: bool) -> None:
    """Say what is here now, and how an agent uses it."""
    if as_json:
        print_json(to_json(model))
        return
    target = console()
    known = (model.architecture, _count_text(model.parameter_count), model.quantisation)
    facts = ", ".join(fact for fact in known if fact)
    target.print(clean(f"{model.name} is ready: {facts}, {bytes_text(model.size_bytes)}"))
    memory = psutil.virtual_memory().total
    if model.memory_bytes:
        target.print(f"it takes about {bytes_text(model.memory_bytes)} of memory when it is loaded")
    if model.memory_bytes > memory:
        has = f"this machine has {bytes_text(memory)}"
        target.print(Text(f"warning: {has}; take a smaller or more quantised one", "yellow"))
    target.print("in the manifest of an agent:")
    target.print("  model:")
    target.print(f"    use: {model.name}")


def _row(model: pb.Model) -> tuple[str, ...]:
    return (
        model.name,
        model.architecture,
        _count_text(model.parameter_count),
        model.quantisation,
        f"{model.context_tokens:,}" if model.context_tokens else "",
        bytes_text(model.size_bytes),
        bytes_text(model.memory_bytes) if model.memory_bytes else "",
        model.licence,
        f"unusable: {model.problem}" if model.problem else "loaded" if model.loaded else "",
    )


def _count_text(count: int) -> str:
    """Return a count of parameters as people say it, such as `8.0 B`."""
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count) if count else ""
