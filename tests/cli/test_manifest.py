"""Tests of what is read and sent of an agent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import manifest as sources
from cli.errors import CommandError
from cli.manifest import parse_input, parse_settings, read_source

AGENT = """
spec:
  knowledge:
    private: [{{collection: a, documents: [{name}]}}]
    public: [{{collection: b, documents: [docs/two.md]}}]
"""
BOMB = """
a: &a {x: 1}
b: &b {<<: [*a, *a, *a, *a, *a, *a, *a, *a, *a]}
c: &c {<<: [*b, *b, *b, *b, *b, *b, *b, *b, *b]}
d: &d {<<: [*c, *c, *c, *c, *c, *c, *c, *c, *c]}
e: &e {<<: [*d, *d, *d, *d, *d, *d, *d, *d, *d]}
f: &f {<<: [*e, *e, *e, *e, *e, *e, *e, *e, *e]}
g: &g {<<: [*f, *f, *f, *f, *f, *f, *f, *f, *f]}
h: &h {<<: [*g, *g, *g, *g, *g, *g, *g, *g, *g]}
spec: {<<: [*h, *h, *h, *h], documents: []}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two documents, beside a third one."""
    (tmp_path / "agent/docs").mkdir(parents=True)
    (tmp_path / "agent/one.md").write_text("one")
    (tmp_path / "agent/docs/two.md").write_text("two")
    (tmp_path / "secret.md").write_text("secret")
    return tmp_path / "agent"


def write_agent(folder: Path, name: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(AGENT.format(name=name))
    return path


def test_documents_of_both_segments_are_sent(folder: Path) -> None:
    source = read_source(write_agent(folder, "one.md"))

    assert {file.path: file.content for file in source.files} == {
        "docs/two.md": b"two",
        "one.md": b"one",
    }


def test_a_document_that_does_not_exist_is_left_for_the_assembler(folder: Path) -> None:
    source = read_source(write_agent(folder, "three.md"))

    assert [file.path for file in source.files] == ["docs/two.md"]


@pytest.mark.parametrize(
    "name", ["../secret.md", "docs/../../secret.md", "/etc/passwd", "./one.md"]
)
def test_a_path_that_no_manifest_may_name_is_left_for_the_assembler(
    folder: Path, name: str
) -> None:
    source = read_source(write_agent(folder, name))

    assert [file.path for file in source.files] == ["docs/two.md"]


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "link.md").symlink_to(folder.parent / "secret.md")

    with pytest.raises(CommandError) as caught:
        read_source(write_agent(folder, "link.md"))

    assert caught.value.reason == "FILE_OUTSIDE"


def test_a_manifest_that_does_not_parse_is_sent_alone(folder: Path) -> None:
    path = folder / "agent.yaml"
    path.write_text("spec: {documents: [")

    assert read_source(path).files == ()


def test_references_are_not_expanded(folder: Path) -> None:
    path = folder / "agent.yaml"
    path.write_text(BOMB)

    assert read_source(path).files == ()


def test_deep_nesting_is_left_for_the_assembler(folder: Path) -> None:
    path = folder / "agent.yaml"
    path.write_text("documents: " + "[" * 100_000)

    assert read_source(path).files == ()


def test_a_manifest_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)

    with pytest.raises(CommandError) as caught:
        read_source(path)

    assert caught.value.reason == "MANIFEST_TOO_LARGE"


def test_a_document_that_is_too_large_is_refused(folder: Path) -> None:
    (folder / "one.md").write_bytes(b"x" * (sources.FILE_BYTES_MAX + 1))

    with pytest.raises(CommandError, match=r"one\.md has 1048577 bytes"):
        read_source(write_agent(folder, "one.md"))


def test_too_many_documents_are_refused(folder: Path) -> None:
    names = [f"{number}.md" for number in range(sources.FILES_MAX)]
    for name in names:
        (folder / name).write_text("x")

    with pytest.raises(CommandError, match="has a length of 257"):
        read_source(write_agent(folder, ", ".join(names)))


CODE = """
spec:
  actions:
    - {use: knowledge.search}
    - {source: act.py, packages: [lib/kit], grants: [{use: board.post}]}
    - {source: act.py, function: other, packages: [lib/kit, lib/none, ../out, act.py]}
"""


def write_code(folder: Path) -> Path:
    """Write an agent with code, and a package beside it."""
    (folder / "lib/kit/deep").mkdir(parents=True)
    for name in ("act.py", "lib/kit/__init__.py", "lib/kit/deep/words.py", "lib/kit/data.json"):
        (folder / name).write_text(name)
    (folder / "lib/other.py").write_text("not named")
    path = folder / "agent.yaml"
    path.write_text(CODE)
    return path


def test_code_is_sent_with_the_python_files_of_its_packages(folder: Path) -> None:
    source = read_source(write_code(folder))

    assert [file.path for file in source.files] == [
        "act.py",
        "lib/kit/__init__.py",
        "lib/kit/deep/words.py",
    ]


@pytest.mark.parametrize("name", ["lib/kit/words.py", "lib/kit/linked", "lib/linked.py", "lib/kit"])
def test_a_link_out_of_the_folder_of_a_package_is_refused(folder: Path, name: str) -> None:
    path = write_code(folder)
    path.write_text(CODE.replace("act.py, f", "lib/linked.py, f"))
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "__init__.py").write_text("secret")
    if name == "lib/kit":
        shutil.rmtree(folder / name)
    (folder / name).symlink_to(outside / "__init__.py" if name.endswith(".py") else outside)

    with pytest.raises(CommandError) as caught:
        read_source(path)

    assert caught.value.reason == "FILE_OUTSIDE"


def test_too_many_files_of_a_package_are_refused(folder: Path) -> None:
    path = write_code(folder)
    for number in range(sources.FILES_MAX):
        (folder / f"lib/kit/{number}.py").write_text("")

    with pytest.raises(CommandError, match="at most 256"):
        read_source(path)


@settings(max_examples=50)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_makes_reading_fail(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content + b"\n# documents, source")

    assert read_source(path).content.startswith(content)


@given(value=st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_json_stays_the_value_that_it_is(value: object) -> None:
    text = json.dumps(value)

    assert json.loads(parse_input(text)) == value


@pytest.mark.parametrize("text", ["what moved?", "1.2.3", "nul", "it's"])
def test_plain_text_becomes_a_json_string(text: str) -> None:
    assert json.loads(parse_input(text)) == text


@pytest.mark.parametrize("text", ['{"a":', "[1,", '"open'])
def test_broken_json_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="looks like JSON"):
        parse_input(text)


def test_no_input_stays_empty() -> None:
    assert not parse_input("")


def test_an_input_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"topic": "ether"}')

    assert json.loads(parse_input(f"@{tmp_path / 'input.json'}")) == {"topic": "ether"}


def test_an_input_that_is_too_large_is_refused() -> None:
    with pytest.raises(CommandError, match="at most 65536"):
        parse_input("x" * sources.INPUT_BYTES_MAX)


@pytest.mark.parametrize("setting", ["novalue", "=value", ""])
def test_a_setting_without_key_or_value_is_refused(setting: str) -> None:
    with pytest.raises(CommandError, match="key=value"):
        parse_settings([setting])


def test_the_value_of_a_setting_may_be_anything() -> None:
    assert json.loads(parse_settings(["a=", "b=x=y", 'c={"d": 1}', "e=[1"])) == {
        "a": "",
        "b": "x=y",
        "c": {"d": 1},
        "e": "[1",
    }
