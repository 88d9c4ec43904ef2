"""Tests of which files an action is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.authoring import sources
from cli.authoring.sources import read_authored
from cli.errors import CommandError

from .conftest import Write


def test_packages_come_with_all_their_modules(write: Write) -> None:
    file = write("score.py", "import textkit")
    write("lib/textkit/__init__.py", "a = 1")
    write("lib/textkit/words/__init__.py", "b = 1")
    write("lib/textkit/words.txt", "no code")

    authored = read_authored(file, [file.parent / "lib/textkit"])

    assert authored.code.main == "score.py"
    assert dict(authored.code.files) == {
        "score.py": "import textkit",
        "textkit/__init__.py": "a = 1",
        "textkit/words/__init__.py": "b = 1",
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("score.txt", "no file of Python"),
        ("my-score.py", "no name of a module"),
        ("class.py", "no name of a module"),
        ("json.py", "a module of Python"),
        ("actionvm_sdk.py", "a module of Python or the SDK"),
    ],
)
def test_a_file_that_cannot_be_a_module_is_refused(write: Write, name: str, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        read_authored(write(name, ""), [])


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_bytes(b"\xff")

    with pytest.raises(CommandError, match="not UTF-8"):
        read_authored(tmp_path / "score.py", [])


def test_a_folder_that_is_no_package_is_refused(write: Write) -> None:
    file = write("score.py", "")
    write("textkit/words.py", "")

    with pytest.raises(CommandError, match=r"no __init__\.py"):
        read_authored(file, [file.parent / "textkit"])


def test_a_package_with_native_code_is_refused(write: Write) -> None:
    file = write("score.py", "")
    write("textkit/__init__.py", "")
    write("textkit/fast.abi3.so", "")

    with pytest.raises(CommandError, match="compiled for a machine"):
        read_authored(file, [file.parent / "textkit"])


def test_a_link_out_of_a_package_is_refused(write: Write) -> None:
    file = write("score.py", "")
    write("textkit/__init__.py", "")
    (file.parent / "textkit/secret.py").symlink_to(write("secret.py", "key = 1"))

    with pytest.raises(CommandError, match="leads out"):
        read_authored(file, [file.parent / "textkit"])


def test_more_files_than_fit_are_refused(write: Write) -> None:
    file = write("score.py", "")
    for number in range(sources.FILES_MAX):
        write(f"textkit/a{number}.py", "")
    write("textkit/__init__.py", "")

    with pytest.raises(CommandError, match="more files than fit"):
        read_authored(file, [file.parent / "textkit"])


def test_more_code_than_fits_is_refused(write: Write) -> None:
    file = write("score.py", "")
    write("textkit/__init__.py", "")
    for number in range(5):
        write(f"textkit/a{number}.py", "#" * sources.SOURCE_BYTES_MAX)

    with pytest.raises(CommandError, match="at most 524288"):
        read_authored(file, [file.parent / "textkit"])
