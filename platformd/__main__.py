"""Starts the emulated platform: `python -m platformd`, or the supervisor in isolation.

Settings: PLATFORMD_SOCKET (path), PLATFORMD_DATA_DIR (made with mode 0700), PLATFORMD_UIDS (who may
ask, separated by commas; default: the own user), PLATFORMD_RELEASE_KEY (Ed25519, hexadecimal; an
unsigned checkout needs none), PLATFORMD_VOUCHED (`pid:start_time:role`, separated by commas: the
processes that its parent vouches for since before this start).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import protocol
from .counters import Counters
from .desk import Desk
from .errors import PlatformUnusable, VouchRefused
from .measure import Interpreter, Measurer
from .memory import Memory
from .process import Birth, birth_of, read_process
from .release import ReleaseInvalid, read_release
from .root import Root, open_root
from .server import Measures, Server, listen
from .sources import Sources

CHECKOUT = Path(__file__).resolve().parent.parent
KNOWN = ("DATA_DIR", "RELEASE_KEY", "SOCKET", "UIDS", "VOUCHED")
PREFIX = "PLATFORMD_"
PR_SET_DUMPABLE = 4


class SettingInvalid(Exception):
    """A setting is missing, unknown or malformed."""


@dataclass(frozen=True)
class Settings:
    """What platformd needs to know."""

    socket: Path
    data_dir: Path
    uids: frozenset[int]
    release_key: bytes | None
    vouched: tuple[tuple[Birth, str], ...]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings; raise SettingInvalid."""
    found = {
        name.removeprefix(PREFIX): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    if unknown := sorted(set(found) - set(KNOWN)):
        raise SettingInvalid(f"{PREFIX}{unknown[0]}: no such setting; known are {', '.join(KNOWN)}")
    for name in ("SOCKET", "DATA_DIR"):
        if not found.get(name):
            raise SettingInvalid(f"{PREFIX}{name} is missing")
    try:
        name, uids = "UIDS", found.get("UIDS") or str(os.getuid())
        allowed = frozenset(int(uid) for uid in uids.split(","))
        name, key = "RELEASE_KEY", found.get("RELEASE_KEY")
        release_key = protocol.octets({"key": key}, "key", protocol.KEY_BYTES) if key else None
        name, rows = "VOUCHED", filter(None, found.get("VOUCHED", "").split(","))
        vouched = tuple(
            (Birth(int(pid), int(start_time)), role)
            for pid, start_time, role in (row.split(":") for row in rows)
        )
    except ValueError as error:
        raise SettingInvalid(f"{PREFIX}{name} is malformed") from error
    return Settings(Path(found["SOCKET"]), Path(found["DATA_DIR"]), allowed, release_key, vouched)


def open_desk(settings: Settings) -> tuple[Root, Desk]:
    """Open root and counters, made at the very first start; raise PlatformUnusable."""
    folder = settings.data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    _own(folder)
    counters = folder / "counters"
    root = open_root(folder, os.urandom, make=lambda root: Counters.make(counters, root))
    parent = birth_of(os.getppid())
    desk = Desk(root, Counters(counters, root), parent=parent)
    for birth, role in settings.vouched:
        try:
            desk.vouch(birth, role)
        except VouchRefused:
            continue  # it has ended since
    return root, desk


def open_measurer(settings: Settings, memory: Memory) -> Measurer:
    """Return what measures the processes that run this checkout with this interpreter."""
    release = None
    if settings.release_key is not None:
        release = read_release(CHECKOUT, settings.release_key)
    sources = Sources(str(CHECKOUT), memory, owner_uid=os.getuid())
    return Measurer(sources, _interpreter(), release=release, uid=os.getuid())


def serve(settings: Settings, desk: Desk, measurer: Measures, memory: Memory) -> None:
    """Serve until the process is ended, at any point: nothing is acknowledged before it is safe."""
    listener = listen(settings.socket)
    # Who connects from now on waits for this; it is what the first of them would wait for.
    measurer.warm()
    memory.save()
    server = Server(
        listener,
        desk,
        measurer,
        uids=settings.uids,
        random_bytes=os.urandom,
        on_measured=memory.save,
    )
    server.serve()


def main() -> None:
    """Serve until stopped; exit with 2 for a wrong setting, with 1 for an unusable folder."""
    os.umask(0o077)
    _hide_memory()
    try:
        settings = read_settings(os.environ)
        root, desk = open_desk(settings)
        memory = Memory(settings.data_dir / "memory", root, time.time_ns)
        measurer = open_measurer(settings, memory)
        if "--check" not in sys.argv:
            serve(settings, desk, measurer, memory)
    except SettingInvalid as error:
        sys.stderr.write(f"platformd: {error}\n")
        raise SystemExit(2) from error
    except (PlatformUnusable, ReleaseInvalid) as error:
        sys.stderr.write(f"platformd: {error}\n")
        raise SystemExit(1) from error


def _own(folder: Path) -> None:
    """Take the folder for this process alone, until it ends."""
    lock = os.open(folder / "platformd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PlatformUnusable(f"another platformd uses {folder}; stop it first") from error


def _interpreter() -> Interpreter:
    own = read_process(os.getpid())
    packages = [path for path in sys.path if path.endswith("-packages")]
    started = [
        str(file)
        for path in packages
        for pattern in ("*.pth", "sitecustomize.py", "usercustomize.py")
        for file in sorted(Path(path).glob(pattern))
    ]
    in_environment = sys.prefix != sys.base_prefix
    user_site = Path.home() / f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    return Interpreter(
        executable=own.executable,
        command=own.arguments[0],
        prefixes=(sys.prefix, sys.base_prefix),
        start_files=tuple(started),
        user_site=str(user_site) if user_site.exists() and not in_environment else "",
    )


def _hide_memory() -> None:
    """Keep other processes of this user, swap files and core files away from the root."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    main()
