"""The commands for what agents know: knowledge add, search, list."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from actionvm.knowledge.v1 import knowledge_pb2 as pb

from ..client import Client, all_pages
from ..command import AsJson, Command, ask, group
from ..errors import CommandError
from ..manifest import FILE_BYTES_MAX, read_limited
from ..output import console, print_json, table, to_json
from ..render import time_text

app = group("Keep and find what agents know.")

Files = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="Text or Markdown, at most 1 MiB each.")
]
CollectionOption = Annotated[
    str, typer.Option("--collection", "-c", help="Such as market; made on first use.")
]
Public = Annotated[bool, typer.Option("--public", help="Every agent may read the collection.")]
SourceOption = Annotated[str, typer.Option("--source", help="Where the text comes from.")]
Query = Annotated[str, typer.Argument(metavar="QUERY", help="Plain words.")]
Collections = Annotated[
    list[str], typer.Option("--collection", "-c", help="Where to search; may be repeated.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=50, help="Most passages to show.")]
CollectionArgument = Annotated[
    str | None,
    typer.Argument(metavar="COLLECTION", help="List the documents of this collection instead."),
]


@app.command("add", cls=Command)
def add(
    context: typer.Context,
    files: Files,
    collection: CollectionOption,
    *,
    public: Public = False,
    source: SourceOption = "",
    as_json: AsJson = False,
) -> None:
    """Add or replace documents. One that did not change is left as it is.

    Example: actionvm knowledge add notes/*.md --collection market
    """
    segment = pb.SEGMENT_PUBLIC if public else pb.SEGMENT_PRIVATE
    requests = [
        pb.PutDocumentRequest(
            document=pb.Document(
                name=f"{collection_name(collection)}/documents/{_document_path(file)}",
                text=_read_text(file),
                source=source,
            ),
            segment=segment,
        )
        for file in files
    ]

    async def put(client: Client) -> list[pb.PutDocumentResponse]:
        return [await _put(client, request) for request in requests]

    answers = ask(context, put)
    if as_json:
        print_json({"documents": [to_json(answer) for answer in answers]})
        return
    for answer in answers:
        change = f"{answer.passage_count} passages" if answer.changed else "unchanged"
        console().print(f"{answer.document.name}: {change}")


@app.command("search", cls=Command)
def search(
    context: typer.Context,
    query: Query,
    collections: Collections,
    *,
    limit: Limit = 5,
    as_json: AsJson = False,
) -> None:
    """Find the passages that fit a query best, by words and by meaning.

    Example: actionvm knowledge search "what moved ether" --collection market
    """
    request = pb.SearchKnowledgeRequest(
        collections=map(collection_name, collections), query=query, passages_max=limit
    )

    async def find(client: Client) -> pb.SearchKnowledgeResponse:
        return await client.knowledge(lambda stub: stub.SearchKnowledge(request))

    found = ask(context, find)
    if as_json:
        print_json(to_json(found))
        return
    rows = [
        (f"{passage.score:.3f}", passage.document.rpartition("/documents/")[2], passage.text)
        for passage in found.passages
    ]
    columns = ("score", "document", "passage")
    console().print(table(*columns, rows=rows) if rows else "nothing fits")


@app.command("list", cls=Command)
def list_knowledge(
    context: typer.Context, *, collection: CollectionArgument = None, as_json: AsJson = False
) -> None:
    """List collections, or the documents of one.

    Example: actionvm knowledge list market
    """
    if collection is None:
        _list_collections(context, as_json=as_json)
    else:
        _list_documents(context, collection_name(collection), as_json=as_json)


def collection_name(text: str) -> str:
    """Return the full name of a collection, which may be given without `collections/`."""
    return text if text.startswith("collections/") else f"collections/{text}"


def _list_collections(context: typer.Context, *, as_json: bool) -> None:
    async def read(client: Client) -> list[pb.Collection]:
        def fetch(token: str) -> Awaitable[pb.ListCollectionsResponse]:
            request = pb.ListCollectionsRequest(page_token=token)
            return client.knowledge(lambda stub: stub.ListCollections(request))

        return await all_pages(fetch, lambda page: page.collections)

    found = ask(context, read)
    if as_json:
        print_json({"collections": [to_json(one) for one in found]})
        return
    rows = [
        (
            one.name,
            pb.Segment.Name(one.segment).removeprefix("SEGMENT_").lower(),
            str(one.document_count),
            str(one.passage_count),
            one.embedder,
        )
        for one in found
    ]
    columns = ("collection", "segment", "documents", "passages", "embedder")
    made = table(*columns, rows=rows, right=("documents", "passages"))
    console().print(made if rows else "there are no collections yet")


def _list_documents(context: typer.Context, collection: str, *, as_json: bool) -> None:
    async def read(client: Client) -> list[pb.Document]:
        def fetch(token: str) -> Awaitable[pb.ListDocumentsResponse]:
            request = pb.ListDocumentsRequest(collection=collection, page_token=token)
            return client.knowledge(lambda stub: stub.ListDocuments(request))

        return await all_pages(fetch, lambda page: page.documents)

    found = ask(context, read)
    if as_json:
        print_json({"documents": [to_json(one) for one in found]})
        return
    rows = [
        (
            one.name.rpartition("/documents/")[2],
            str(one.digest.size_bytes),
            one.source,
            time_text(one.update_time),
        )
        for one in found
    ]
    made = table("document", "bytes", "source", "updated", rows=rows, right=("bytes",))
    console().print(made if rows else "the collection is empty")


async def _put(client: Client, request: pb.PutDocumentRequest) -> pb.PutDocumentResponse:
    return await client.knowledge(lambda stub: stub.PutDocument(request))


def _document_path(file: Path) -> str:
    """Return what a document is called: its relative path, or the name of a file elsewhere."""
    outside = file.is_absolute() or ".." in file.parts
    return file.name if outside else PurePosixPath(file).as_posix()


def _read_text(file: Path) -> str:
    content = read_limited(file, FILE_BYTES_MAX, what=str(file), field="FILES")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{file} is not UTF-8 text",
            reason="INVALID_FIELD",
            field="FILES",
            fix="convert it to plain text or Markdown first",
        ) from error
