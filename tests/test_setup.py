"""`bin/setup` and `bin/actionvm` on a machine of fakes: nothing is downloaded or compiled."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

BIN = Path(__file__).resolve().parent.parent / "bin"

# What bin/setup may count on: a shell, the POSIX tools and flock.
TOOLS = (
    *("awk", "cat", "cp", "cut", "date", "dirname", "env", "flock", "getconf", "grep", "gzip"),
    *("mkdir", "mv", "readlink", "rm", "sh", "sha256sum", "tail", "tar", "touch", "uname"),
)

# Plays python, uv, cmake, ninja, df and the compilers. It writes down how it was called, fails when
# the call contains $FAIL, and makes the files that its model would make.
FAKE = """#!/bin/sh
call="$(echo "$0" | awk -F/ '{ print $NF }') $*"
echo "$call" >>"$CALLS"
case "$call" in *"$FAIL"*) exit 1 ;; esac
case "$call" in
df*) printf 'Filesystem 1048576-blocks Used Available\\n/dev/disk 9999 1 %s\\n' "$FREE_MB" ;;
nproc*) echo 2 ;;
*venv*.venv)
    mkdir -p .venv/bin .venv/lib/python3.11/site-packages/llama_cpp
    for tool in python cmake ninja; do cp "$(readlink -f "$0")" ".venv/bin/$tool"; done ;;
*'pip download'*)
    for folder; do :; done
    mkdir -p "$folder/llama_cpp_python-1"
    (cd "$folder" && tar -czf source.tar.gz llama_cpp_python-1) ;;
*'pip wheel'*) touch "$(echo "$*" | awk '{ print $(NF - 1) }')/llama.whl" ;;
cmake*) mkdir -p "$4" ;;
ninja*)
    if [ -n "$INTERRUPT" ]; then kill -INT 0; fi
    mkdir -p "$2/bin" && echo compiled >"$2/bin/libllama.so" ;;
*'-m sandbox.build'*) for file; do :; done && echo runner >"$file" ;;
*'-m cli'*) echo "$PWD $PYTHONPATH $PYTHONSAFEPATH $*" ;;
esac
"""


@dataclass
class Machine:
    """A folder with a checkout, a cache and the only programs there are."""

    folder: Path
    # What the fakes do: see FAKE.
    environment: dict[str, str] = field(
        default_factory=lambda: {"FAIL": "nothing fails", "FREE_MB": "9999", "INTERRUPT": ""}
    )

    def __post_init__(self) -> None:
        """Install the programs and the checkout."""
        self.checkout = self.folder / "check out"
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.programs / tool).symlink_to(found)
        (self.programs / "fake").write_text(FAKE)
        (self.programs / "fake").chmod(0o755)
        self.install("python3", "cc", "c++", "df", "nproc")
        shutil.copytree(BIN, self.checkout / "bin")
        (self.checkout / "requirements.lock").write_text("componentize-py==1\nwasmtime==1\n")
        for name in ("guest/runner", "build", "immortal", "machine"):
            path = self.checkout / "sandbox" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        (self.checkout / "sdk/actionvm_sdk").mkdir(parents=True)
        (self.checkout / "sdk/actionvm_sdk/__init__.py").write_text("")
        (self.checkout / "requirements-native.lock").write_text("llama-cpp-python==1\n")

    def install(self, *programs: str) -> None:
        for program in programs:
            (self.programs / program).symlink_to("fake")

    def remove(self, program: str) -> None:
        (self.programs / program).unlink()

    def run(
        self, *arguments: str, program: str = "setup", folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of `bin/`, and forget what earlier runs called."""
        (self.folder / "calls").write_text("")
        environment = {
            "PATH": str(self.programs),
            "ACTIONVM_CACHE": str(self.folder / "cache"),
            "CALLS": str(self.folder / "calls"),
            **self.environment,
        }
        # The tests may run where SIGINT is ignored, and a shell cannot undo that.
        path = str(self.checkout / "bin" / program)
        command = ["env", "--default-signal=INT", path, *arguments]
        return subprocess.run(
            command,
            cwd=folder or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            start_new_session=True,
        )

    def has_called(self, words: str) -> bool:
        return words in (self.folder / "calls").read_text()

    @property
    def runner(self) -> Path:
        return self.checkout / ".venv/share/actionvm/runner.cwasm"

    @property
    def library(self) -> Path:
        packages = self.checkout / ".venv/lib/python3.11/site-packages"
        return packages / "llama_cpp/lib/libllama.so"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine on which nothing of ours is installed."""
    return Machine(tmp_path)


def assert_refused(run: subprocess.CompletedProcess[str], way_out: str) -> None:
    """Assert that a run ended with exit code 1 and said what to do."""
    assert run.returncode == 1
    assert "setup: failed: " in run.stderr
    assert way_out in run.stderr


def test_a_fresh_machine_gets_packages_and_a_library(machine: Machine) -> None:
    run = machine.run()
    assert run.returncode == 0, run.stderr
    asked = "pip install --no-deps --require-hashes --compile --no-input -r requirem"
    assert machine.has_called(asked)
    assert machine.library.read_text() == "compiled\n"
    assert machine.runner.read_text() == "runner\n"


def test_a_changed_guest_makes_a_new_runner(machine: Machine) -> None:
    machine.run()
    (machine.checkout / "sandbox/guest/runner.py").write_text("changed")
    machine.run()
    assert machine.has_called("-m sandbox.build")
    assert not machine.has_called("pip install")


def test_standard_output_stays_free_for_the_program(machine: Machine) -> None:
    assert machine.run().stdout == ""


def test_a_processor_is_used_but_for_amx(machine: Machine) -> None:
    machine.run()
    assert machine.has_called("-DGGML_NATIVE=ON")
    assert machine.has_called("-DCMAKE_CXX_FLAGS=-w -mno-amx-tile -mno-amx-int8 -mno-amx-bf16")


def test_a_compiler_that_knows_no_amx_is_not_told_of_it(machine: Machine) -> None:
    machine.environment["FAIL"] = "c++ -mno-amx"
    run = machine.run()
    assert run.returncode == 0, run.stderr
    assert machine.has_called("-DCMAKE_CXX_FLAGS=-w\n")


def test_a_second_run_starts_no_program_of_ours(machine: Machine) -> None:
    machine.run()
    run = machine.run()
    assert (run.returncode, run.stderr) == (0, "")
    assert not machine.has_called("p")


def test_uv_is_used_where_it_exists(machine: Machine) -> None:
    machine.install("uv")
    assert machine.run().returncode == 0
    assert machine.has_called("uv pip sync --require-hashes --compile-bytecode")


def test_uv_needs_no_python_of_the_machine(machine: Machine) -> None:
    machine.install("uv")
    machine.remove("python3")
    assert machine.run().returncode == 0


def test_an_old_python_is_refused(machine: Machine) -> None:
    machine.environment["FAIL"] = "sys.version_info"
    assert_refused(machine.run(), "Python 3.11 or newer is needed")


@pytest.mark.parametrize("compiler", ["cc", "c++"])
def test_a_missing_compiler_is_named_before_anything_is_made(
    machine: Machine, compiler: str
) -> None:
    machine.remove(compiler)
    assert_refused(machine.run(), f"({compiler}): apt-get install build-essential")
    assert not (machine.checkout / ".venv").exists()


def test_a_full_disk_is_refused(machine: Machine) -> None:
    machine.environment["FREE_MB"] = "100"
    assert_refused(machine.run(), "100 MB are free: make room")


def test_a_cache_that_cannot_be_written_is_refused(machine: Machine) -> None:
    (machine.folder / "cache").write_text("a file where the folder should be")
    assert_refused(machine.run(), "set ACTIONVM_CACHE")


def test_a_python_without_ensurepip_uses_the_pip_outside(machine: Machine) -> None:
    machine.environment["FAIL"] = "venv .venv"
    assert machine.run().returncode == 0
    assert machine.has_called("pip --python .venv/bin/python install --no-deps --require-hashes")


def test_a_python_without_any_pip_is_refused(machine: Machine) -> None:
    machine.environment["FAIL"] = "python3 -m"
    assert_refused(machine.run(), "apt-get install python3-venv")


@pytest.mark.parametrize(
    ("step", "way_out"),
    [
        ("install --no-deps --require-hashes", "check the network"),
        ("pip download", "check the network"),
        ("cmake", "is the C++ compiler complete?"),
        ("ninja -C", "The next run continues from here"),
        ("pip wheel", "cannot be packed"),
        ("--force-reinstall", "was removed: try again"),
        ("import llama_cpp", "was removed: try again"),
        ("-m sandbox.build", "the runner cannot be built"),
    ],
)
def test_after_a_failed_step_the_next_run_works(machine: Machine, step: str, way_out: str) -> None:
    machine.environment["FAIL"] = step
    assert_refused(machine.run(), way_out)
    machine.environment["FAIL"] = "nothing fails"
    assert machine.run().returncode == 0
    assert machine.library.exists()


def test_a_half_made_environment_is_replaced(machine: Machine) -> None:
    (machine.checkout / ".venv/bin").mkdir(parents=True)
    rubbish = machine.checkout / ".venv/bin/python"
    rubbish.write_text("not a program")
    assert machine.run().returncode == 0
    assert rubbish.read_text() == FAKE


def test_a_changed_lock_makes_a_new_environment(machine: Machine) -> None:
    machine.run()
    (machine.checkout / "requirements.lock").write_text("grpcio==2\n")
    assert machine.run().returncode == 0
    assert machine.has_called("venv .venv")


def test_a_moved_checkout_makes_a_new_environment(machine: Machine) -> None:
    machine.run()
    machine.checkout = machine.checkout.rename(machine.folder / "moved")
    assert machine.run().returncode == 0
    assert machine.has_called("venv .venv")


def test_an_interrupted_build_says_so_and_continues(machine: Machine) -> None:
    machine.environment["INTERRUPT"] = "yes"
    run = machine.run()
    assert run.returncode == 130
    assert "interrupted; the next run continues from here" in run.stderr
    assert "failed" not in run.stderr
    machine.environment["INTERRUPT"] = ""
    assert machine.run().returncode == 0
    assert machine.has_called("ninja -C")
    assert not machine.has_called("venv .venv")
    assert not machine.has_called("pip download")


def test_an_interrupted_build_leaves_no_cache_entry(machine: Machine) -> None:
    machine.environment["INTERRUPT"] = "yes"
    machine.run()
    assert not list((machine.folder / "cache").glob("*/lib"))


def test_a_second_checkout_takes_the_library_from_the_cache(machine: Machine) -> None:
    machine.run()
    shutil.rmtree(machine.checkout / ".venv")
    machine.remove("cc")
    assert machine.run().returncode == 0
    assert machine.library.exists()
    assert not machine.has_called("ninja")


def test_the_command_runs_in_the_folder_of_its_caller(machine: Machine) -> None:
    elsewhere = machine.folder / "elsewhere"
    elsewhere.mkdir()
    run = machine.run("run", "a b.yaml", program="actionvm", folder=elsewhere)
    assert run.stdout == f"{elsewhere} {machine.checkout} 1 -m cli run a b.yaml\n"


def test_the_command_works_through_a_link(machine: Machine) -> None:
    link = machine.checkout / "bin" / "link"
    link.symlink_to(machine.checkout / "bin" / "actionvm")
    assert machine.run("status", program="link").stdout.endswith("-m cli status\n")
