"""What callers write becomes a path or an address only if it can be nothing else."""

from __future__ import annotations

import pytest

from chassis.errors import InvalidField
from linker.ports import HubSource
from linker.sources import parse_local_model, parse_path, parse_source

GOOD = {"repository": "owner/name", "file": "folder/it-Q4_K_M.gguf", "revision": "", "sha256": ""}


def test_a_source_is_taken_as_it_is() -> None:
    assert parse_source(**GOOD) == HubSource("owner/name", "folder/it-Q4_K_M.gguf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("repository", value) for value in ("", "name", "a/b/c", "../b", "a/..", "a--b/c")),
        *(("repository", value) for value in ("a/b?x=", "a/b#", "a b/c", "é/b", "a/" + "b" * 97)),
        *(("file", value) for value in ("", "it.bin", "../it.gguf", "/it.gguf", "a//it.gguf")),
        *(("file", value) for value in ("a\\it.gguf", "a\nit.gguf", "x" * 256 + ".gguf")),
        *(("revision", value) for value in ("..", "a..b", "-v1", "a b", "x" * 129)),
        *(("sha256", value) for value in ("0" * 63, "G" * 64, "A" * 64)),
    ],
)
def test_what_could_be_something_else_is_refused(field: str, value: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_source(**{**GOOD, field: value})
    assert refused.value.field == field


@pytest.mark.parametrize("ending", ["-00001-of-00003.gguf", ".gguf.part1of3"])
def test_a_part_of_a_model_is_refused_with_where_to_read_on(ending: str) -> None:
    with pytest.raises(InvalidField, match=r"is part 1 of 3; docs/models\.md"):
        parse_source(**{**GOOD, "file": f"Q4_K_M/it-Q4_K_M{ending}"})


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "0" * 40])
def test_a_revision_may_be_a_branch_a_tag_or_a_commit(revision: str) -> None:
    assert parse_source(**{**GOOD, "revision": revision}).revision == revision


@pytest.mark.parametrize("model", ["", "x", "local/", "local/.x", "local/a/b", "local/a b", "a/x"])
def test_a_name_that_is_no_file_name_is_refused(model: str) -> None:
    with pytest.raises(InvalidField, match="local/llama-3-8b"):
        parse_local_model(model)


@pytest.mark.parametrize("path", ["", "it.gguf", "~/it.gguf", "/a\0b", "/" + "x" * 4_096])
def test_a_path_is_absolute(path: str) -> None:
    with pytest.raises(InvalidField, match="path"):
        parse_path(path)
