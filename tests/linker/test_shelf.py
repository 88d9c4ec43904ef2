"""A name in the folder of the models has its whole file or none, whatever happens on the way."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from chassis.errors import InvalidField
from linker.errors import (
    ChecksumMismatch,
    HubUnavailable,
    ModelExists,
    ModelNotFound,
    ModelUnusable,
    StorageUnusable,
)
from linker.ports import HubSource
from linker.progress import Progress
from linker.providers.shelf import HEADER_BYTES
from tests.linker.shelves import (
    BLOCK_BYTES,
    FILE,
    REPOSITORY,
    SOURCE,
    TINY,
    MemoryHub,
    ignore,
    make_shelf,
    number_pair,
)
from tests.linker.test_gguf import GOOD, file_of

SHA256 = hashlib.sha256(TINY).hexdigest()


def names(folder: Path) -> list[str]:
    """Return all that lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder of models."""
    made = tmp_path / "models"
    made.mkdir()
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a GGUF file of the user."""
    path = tmp_path / "mine.gguf"
    path.write_bytes(TINY)
    return path


# --- Pull ----------------------------------------------------------------------------------------


def test_a_pull_leaves_the_file_and_nothing_else(folder: Path) -> None:
    make_shelf(folder).pull("tiny", SOURCE, ignore)

    assert names(folder) == ["tiny.gguf"]
    assert (folder / "tiny.gguf").read_bytes() == TINY


def test_a_pull_that_broke_off_is_continued(folder: Path) -> None:
    hub = MemoryHub()
    hub.fail_next(HubUnavailable("gone"))
    with pytest.raises(HubUnavailable):
        make_shelf(folder, hub).pull("tiny", SOURCE, ignore)
    assert not (folder / "tiny.gguf").exists()

    make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert hub.starts == [0, 1_000]
    assert names(folder) == ["tiny.gguf"]


def test_what_came_of_another_version_is_not_mixed_in(folder: Path) -> None:
    hub = MemoryHub()
    hub.fail_next(HubUnavailable("gone"))
    with pytest.raises(HubUnavailable):
        make_shelf(folder, hub).pull("tiny", SOURCE, ignore)
    newer = TINY + b"newer"
    hub.files[REPOSITORY, FILE] = newer

    make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert (folder / "tiny.gguf").read_bytes() == newer
    assert names(folder) == ["tiny.gguf"]


def test_a_draft_that_is_too_long_is_begun_anew(folder: Path) -> None:
    (folder / f".tiny~{SHA256[:16]}").write_bytes(bytes(len(TINY) + 1))

    make_shelf(folder).pull("tiny", SOURCE, ignore)

    assert (folder / "tiny.gguf").read_bytes() == TINY


def test_wrong_bytes_are_refused_and_removed(folder: Path) -> None:
    hub = MemoryHub(bad_bytes=TINY[:-1] + b"x")

    with pytest.raises(ChecksumMismatch, match="pull it again"):
        make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert names(folder) == []


def test_a_hash_that_the_hub_does_not_have_is_refused_before_the_fetch(folder: Path) -> None:
    hub = MemoryHub()
    source = HubSource(REPOSITORY, FILE, sha256="0" * 64)

    with pytest.raises(ChecksumMismatch, match="revision"):
        make_shelf(folder, hub).pull("tiny", source, ignore)

    assert hub.starts == []


def test_a_hash_is_asked_for_where_the_hub_knows_none(folder: Path) -> None:
    shelf = make_shelf(folder, MemoryHub(knows_sha256=False))

    with pytest.raises(InvalidField, match="sha256"):
        shelf.pull("tiny", SOURCE, ignore)
    shelf.pull("tiny", HubSource(REPOSITORY, FILE, sha256=SHA256), ignore)

    assert names(folder) == ["tiny.gguf"]


def test_what_is_no_gguf_is_refused_and_removed(folder: Path) -> None:
    hub = MemoryHub({(REPOSITORY, FILE): b"PK\x03\x04" + bytes(2_000)})

    with pytest.raises(ModelUnusable, match="not a GGUF"):
        make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert names(folder) == []


@pytest.mark.parametrize("is_good", [True, False])
def test_a_large_file_is_looked_at_while_it_comes(folder: Path, *, is_good: bool) -> None:
    part = number_pair(b"split.count", 1 if is_good else 3)
    content = file_of(*GOOD, part) + bytes(HEADER_BYTES + 10 * BLOCK_BYTES)
    hub = MemoryHub({(REPOSITORY, FILE): content}, block_bytes=1024 * 1024)
    told: list[Progress] = []

    if is_good:
        make_shelf(folder, hub).pull("tiny", SOURCE, told.append)
        assert told[-1].received_bytes == len(content)
    else:
        with pytest.raises(ModelUnusable, match="one of 3 parts"):
            make_shelf(folder, hub).pull("tiny", SOURCE, told.append)
        assert told[-1].received_bytes < len(content)
        assert names(folder) == []


def test_pulling_again_what_is_here_changes_nothing(folder: Path) -> None:
    hub = MemoryHub()
    make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert hub.starts == [0]
    assert names(folder) == ["tiny.gguf"]


def test_a_pull_does_not_replace_another_model(folder: Path) -> None:
    (folder / "tiny.gguf").write_bytes(b"mine")

    with pytest.raises(ModelExists, match="--name"):
        make_shelf(folder).pull("tiny", SOURCE, ignore)

    assert (folder / "tiny.gguf").read_bytes() == b"mine"
    assert names(folder) == ["tiny.gguf"]


def test_a_file_that_does_not_fit_is_not_begun(folder: Path) -> None:
    hub = MemoryHub(size_told=2**60)

    with pytest.raises(StorageUnusable, match=r"1152921504\.6 GB are needed"):
        make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert hub.starts == []


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(folder: Path) -> None:
    hub = MemoryHub()
    hub.fail_next(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    with pytest.raises(StorageUnusable, match="No space left"):
        make_shelf(folder, hub).pull("tiny", SOURCE, ignore)
    make_shelf(folder, hub).pull("tiny", SOURCE, ignore)

    assert hub.starts == [0, 1_000]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageUnusable, match="No such file"):
        make_shelf(tmp_path / "none").pull("tiny", SOURCE, ignore)


def test_two_pulls_of_one_model_fetch_it_once(folder: Path) -> None:
    hub = MemoryHub()
    started, may_go_on = threading.Event(), threading.Event()

    def wait(_: Progress) -> None:
        started.set()
        may_go_on.wait(10)

    first = threading.Thread(target=make_shelf(folder, hub).pull, args=("tiny", SOURCE, wait))
    first.start()
    assert started.wait(10)
    second = threading.Thread(target=make_shelf(folder, hub).pull, args=("tiny", SOURCE, ignore))
    second.start()
    may_go_on.set()
    first.join(10)
    second.join(10)

    assert hub.starts == [0]
    assert names(folder) == ["tiny.gguf"]


# --- Add -----------------------------------------------------------------------------------------


def test_adding_gives_a_file_a_second_name(folder: Path, source: Path) -> None:
    make_shelf(folder).add("tiny", source, ignore)

    assert (folder / "tiny.gguf").samefile(source)


def test_a_link_to_a_file_is_followed(folder: Path, source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(source)

    make_shelf(folder).add("tiny", link, ignore)

    assert not (folder / "tiny.gguf").is_symlink()
    assert (folder / "tiny.gguf").samefile(source)


def test_adding_again_changes_nothing(folder: Path, source: Path) -> None:
    make_shelf(folder).add("tiny", source, ignore)

    make_shelf(folder).add("tiny", source, ignore)

    assert names(folder) == ["tiny.gguf"]


def test_adding_does_not_replace_another_model(folder: Path, source: Path) -> None:
    (folder / "tiny.gguf").write_bytes(b"mine")

    with pytest.raises(ModelExists):
        make_shelf(folder).add("tiny", source, ignore)

    assert (folder / "tiny.gguf").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_only_a_file_can_be_added(folder: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it.gguf"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)

    with pytest.raises(InvalidField, match="path"):
        make_shelf(folder).add("tiny", path, ignore)


def test_what_is_no_gguf_is_not_added(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"hello")

    with pytest.raises(ModelUnusable, match="not a GGUF"):
        make_shelf(folder).add("tiny", path, ignore)

    assert names(folder) == []


def other_disk() -> Path:
    """Return a folder that cannot have a second name for a file of the temporary folder."""
    return Path("/dev/shm")  # noqa: S108  # the one other file system that every Linux has


def test_a_file_of_another_disk_is_copied_whole(folder: Path, tmp_path: Path) -> None:
    source = other_disk() / f"actionvm-{os.getpid()}.gguf"
    if source.parent.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is one file system only")
    source.write_bytes(TINY)
    told: list[Progress] = []
    try:
        make_shelf(folder).add("tiny", source, told.append)
    finally:
        source.unlink()

    assert (folder / "tiny.gguf").read_bytes() == TINY
    assert told[-1] == Progress(len(TINY), len(TINY))
    assert names(folder) == ["tiny.gguf"]


def test_a_copy_that_is_stopped_leaves_nothing(folder: Path) -> None:
    source = other_disk() / f"actionvm-{os.getpid()}.gguf"
    if source.parent.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is one file system only")
    source.write_bytes(TINY)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            make_shelf(folder).add("tiny", source, stop)
    finally:
        source.unlink()

    assert names(folder) == []


# --- Remove --------------------------------------------------------------------------------------


def test_removing_takes_the_file_and_what_a_pull_left(folder: Path) -> None:
    hub = MemoryHub()
    make_shelf(folder, hub).pull("tiny", SOURCE, ignore)
    (folder / ".tiny~copy").touch()
    (folder / ".tiny-2~copy").touch()

    make_shelf(folder, hub).remove("tiny")

    assert names(folder) == [".tiny-2~copy"]


def test_what_is_not_there_cannot_be_removed(folder: Path) -> None:
    with pytest.raises(ModelNotFound):
        make_shelf(folder).remove("tiny")
