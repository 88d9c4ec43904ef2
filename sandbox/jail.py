"""Looks for the layers of the jail that this machine has, and starts a worker in bubblewrap."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from . import kernel
from .confinement import NOBODY
from .descriptors import ways_out
from .layers import Layers

# A trial starts a Python that does nothing.
TRIAL_SECONDS = 20
REFUSAL_CHARACTERS = 200
# Where the loader finds libraries; the ones that are not there are not needed.
LIBRARIES = tuple(map(Path, ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")))

Trial: TypeAlias = "Callable[[list[str]], str]"


class DescriptorRefused(Exception):
    """A worker would get a descriptor that leads out of the jail."""


@dataclass(frozen=True)
class Lack:
    """A layer that this machine does not have, why, and the way out."""

    layer: str
    detail: str
    way_out: str


@dataclass(frozen=True)
class Survey:
    """The layers that this machine really has.

    `bubblewrap` is the program, if a trial of it worked; `refusal` says why one did not.
    """

    bubblewrap: str
    refusal: str
    landlock: int
    seccomp: bool

    @property
    def layers(self) -> Layers:
        """What a worker is told to put on."""
        return Layers(
            bubblewrap=bool(self.bubblewrap), landlock=self.landlock, seccomp=self.seccomp
        )

    @property
    def is_strong(self) -> bool:
        """Whether code of strangers may run here: a filter, and at least one wall behind it."""
        return self.layers.is_strong

    def lacks(self) -> list[Lack]:
        """Return what is missing, the most important first."""
        return list(self._lacks())

    def _lacks(self) -> Iterator[Lack]:
        if not self.seccomp:
            detail = "this kernel takes no seccomp filter, or forbids it in this container"
            way_out = "run on Linux, x86_64 or aarch64, with CONFIG_SECCOMP_FILTER"
            yield Lack("seccomp", detail, way_out)
        if self.refusal:
            way_out = (
                "allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 "
                "(Ubuntu), kernel.unprivileged_userns_clone=1 (Debian), or, in Docker, "
                "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"
            )
            yield Lack("bubblewrap", f"it does not start: {self.refusal}", way_out)
        elif not self.bubblewrap:
            way_out = "apt-get install bubblewrap, or dnf install bubblewrap"
            yield Lack("bubblewrap", "it is not installed", way_out)
        if not self.landlock:
            detail = "this kernel has no Landlock"
            yield Lack("landlock", detail, "boot Linux 5.13 or newer with lsm=landlock,...")


def survey() -> Survey:
    """Look at this machine; starts a process, so do it once."""
    program = shutil.which("bwrap") or ""
    return survey_with(program, try_command, landlock=kernel.landlock_abi())


def survey_with(program: str, trial: Trial, *, landlock: int) -> Survey:
    """Return what a trial of a program shows, beside what the kernel says."""
    found = Survey(program, "", landlock, kernel.has_seccomp())
    if not program:
        return found
    argv = [sys.executable, "-I", "-S", "-c", ""]
    refusal = trial(command(found, argv, readable=interpreter_paths(), descriptors=()))
    return Survey("" if refusal else program, refusal, landlock, found.seccomp)


def command(
    survey: Survey, argv: Sequence[str], *, readable: Sequence[Path], descriptors: Sequence[int]
) -> list[str]:
    """Return what starts a program in the jail, or the program itself where none is there.

    Start it with an empty environment and `descriptors` in `pass_fds`, from a thread that lives as
    long as it: bubblewrap ends with the thread that started it. Raise DescriptorRefused for one
    that leads out, FileNotFoundError for a path that is not there.
    """
    if refused := ways_out(descriptors):
        raise DescriptorRefused(refused[0])
    if not survey.bubblewrap:
        return list(argv)
    bound = [part for path in _tops(readable) for part in ("--ro-bind", str(path), str(path))]
    return [
        survey.bubblewrap,
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--uid", str(NOBODY), "--gid", str(NOBODY)),
        *("--hostname", "worker", "--clearenv", "--cap-drop", "ALL"),
        *("--new-session", "--die-with-parent"),
        *bound,
        *("--proc", "/proc", "--dev", "/dev", "--chdir", "/"),
        # It was made in memory, and could be filled.
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        "--",
        *argv,
    ]


def interpreter_paths() -> list[Path]:
    """Return what this Python reads to start: itself, its packages and its libraries."""
    paths = [Path(sys.prefix), Path(sys.base_prefix), *LIBRARIES]
    return [path for path in paths if path.exists()]


def try_command(argv: list[str]) -> str:
    """Run what does nothing; return what went wrong, or nothing."""
    try:
        done = subprocess.run(
            argv,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:REFUSAL_CHARACTERS]
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return (lines[-1] if lines else f"it ends with {done.returncode}")[:REFUSAL_CHARACTERS]


def _tops(readable: Sequence[Path]) -> list[Path]:
    """Return each path by its own name and by what it leads to, without what lies in another."""
    assert all(path.is_absolute() for path in readable), "a worker has no folder to start from"
    paths = sorted({*readable, *(path.resolve(strict=True) for path in readable)})
    assert Path("/") not in paths, "a worker that reads everything is in no jail"
    # A parent sorts before what lies in it.
    return [path for path in paths if not any(other in path.parents for other in paths)]
