"""The parent knows what this machine has, and says what it lacks."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.jail import (
    DescriptorRefused,
    Survey,
    command,
    interpreter_paths,
    survey_with,
    try_command,
)
from sandbox.layers import LayersMalformed, parse_layers

FULL = Survey("/usr/bin/bwrap", "", landlock=7, seccomp=True)
NONE = Survey("", "", landlock=0, seccomp=False)


def test_a_full_machine_lacks_nothing_and_is_strong() -> None:
    assert FULL.lacks() == []
    assert FULL.is_strong


@pytest.mark.parametrize(
    ("found", "is_strong"),
    [
        (Survey("", "", landlock=1, seccomp=True), True),
        (Survey("/usr/bin/bwrap", "", landlock=0, seccomp=True), True),
        (Survey("", "", landlock=0, seccomp=True), False),
        (Survey("/usr/bin/bwrap", "", landlock=7, seccomp=False), False),
    ],
)
def test_a_jail_is_strong_with_a_filter_and_a_wall(found: Survey, *, is_strong: bool) -> None:
    assert found.is_strong is is_strong


def test_each_missing_layer_comes_with_a_way_out() -> None:
    lacks = NONE.lacks()

    assert [one.layer for one in lacks] == ["seccomp", "bubblewrap", "landlock"]
    assert all(one.detail and one.way_out for one in lacks)
    assert "apt-get install bubblewrap" in lacks[1].way_out


def test_bubblewrap_that_does_not_start_is_not_there() -> None:
    found = survey_with("/usr/bin/bwrap", lambda _: "No permissions", landlock=1)

    assert not found.layers.bubblewrap
    (lack,) = (one for one in found.lacks() if one.layer == "bubblewrap")
    assert lack.detail == "it does not start: No permissions"
    assert "user namespaces" in lack.way_out


def test_a_trial_runs_python_in_the_jail() -> None:
    tried: list[list[str]] = []

    def note(argv: list[str]) -> str:
        tried.append(argv)
        return ""

    survey_with("/usr/bin/bwrap", note, landlock=1)

    (argv,) = tried
    assert argv[0] == "/usr/bin/bwrap"
    assert "--unshare-net" in argv
    assert argv[-5:] == [sys.executable, "-I", "-S", "-c", ""]


def test_nothing_is_tried_where_bubblewrap_is_not_installed() -> None:
    def fail(_: list[str]) -> str:
        raise AssertionError("there is nothing to try")

    assert survey_with("", fail, landlock=1).bubblewrap == ""


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/none/such"], "No such file"),
        ([sys.executable, "-I", "-c", "import sys; sys.exit('first\\nlast')"], "last"),
        ([sys.executable, "-I", "-c", "import sys; sys.exit(3)"], "it ends with 3"),
    ],
)
def test_a_trial_that_fails_says_why(argv: list[str], words: str) -> None:
    assert words in try_command(argv)


def test_a_program_stays_as_it_is_without_bubblewrap() -> None:
    assert command(NONE, ["a", "b"], readable=[], descriptors=[]) == ["a", "b"]


def test_paths_are_bound_by_both_names_and_once(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "inside").mkdir(parents=True)
    link.symlink_to(real)

    argv = command(FULL, ["a"], readable=[real / "inside", link], descriptors=[])

    bound = [argv[index + 1] for index, one in enumerate(argv) if one == "--ro-bind"]
    assert bound == [str(link), str(real)]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        command(FULL, ["a"], readable=[tmp_path / "nowhere"], descriptors=[])


def test_a_descriptor_that_leads_out_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET) as opened,
        pytest.raises(DescriptorRefused, match=f"descriptor {opened.fileno()} is a socket of the"),
    ):
        command(FULL, ["a"], readable=[], descriptors=[opened.fileno()])


@pytest.mark.parametrize("found", [FULL, NONE, Survey("", "", landlock=3, seccomp=True)])
def test_layers_are_told_to_a_worker_as_text(found: Survey) -> None:
    assert parse_layers(str(found.layers)) == found.layers


@pytest.mark.parametrize("text", ["", "seccomp,seccomp", "landlock:x", "walls", "seccomp,none"])
def test_other_text_is_no_layers(text: str) -> None:
    with pytest.raises(LayersMalformed, match="write such as"):
        parse_layers(text)


LOOK = """
import json, os, socket
written = []
for folder in ("/", "/dev", "/dev/shm", "/tmp"):
    try:
        open(folder + "/x", "w").close()
        written.append(folder)
    except OSError:
        pass
found = {
    "root": sorted(os.listdir("/")),
    "user": os.getuid(),
    "processes": sum(name.isdecimal() for name in os.listdir("/proc")),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "host": socket.gethostname(),
    "written": written,
}
print(json.dumps(found))
"""


def test_bubblewrap_shows_what_is_readable_and_no_more(surveyed: Survey) -> None:
    if not surveyed.bubblewrap:
        pytest.skip("bubblewrap is not there: actionvm doctor says why")
    argv = [sys.executable, "-I", "-c", LOOK]
    jailed = command(surveyed, argv, readable=interpreter_paths(), descriptors=[])
    done = subprocess.run(jailed, env={}, capture_output=True, check=True)

    tops = {path.parts[1] for one in interpreter_paths() for path in (one, one.resolve())}
    assert json.loads(done.stdout) == {
        "root": sorted({*tops, "dev", "proc"}),
        "user": 65534,
        # Itself, and the first process of its namespace.
        "processes": 2,
        "interfaces": ["lo"],
        "host": "worker",
        "written": [],
    }
