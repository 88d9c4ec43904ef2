"""The command that shows what agents can think with: models list."""

from __future__ import annotations

from collections.abc import Awaitable

import typer

from actionvm.linker.v1 import linker_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, ask, group
from ..output import console, print_json, table, to_json

app = group("See the models that agents can use.")


@app.callback()
def models() -> None:
    """See the models that agents can use."""


@app.command("list", cls=Command)
def list_models(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the models that could be linked now.

    Example: actionvm models list
    """

    async def read(client: Client) -> list[pb.Model]:
        def fetch(token: str) -> Awaitable[pb.ListModelsResponse]:
            request = pb.ListModelsRequest(page_token=token)
            return client.linker(lambda stub: stub.ListModels(request))

        return await all_pages(fetch, lambda page: page.models)

    found = ask(context, read)
    if as_json:
        print_json({"models": [to_json(model) for model in found]})
        return
    rows = [
        (model.name, f"{model.size_bytes / 1e6:.1f} MB", "loaded" if model.loaded else "")
        for model in found
    ]
    made = table("model", "size", "", rows=rows, right=("size",))
    console().print(made if rows else "there are no models: put a GGUF file into models/")
