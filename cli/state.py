"""What the supervisor tells everybody else: which process serves what, in `supervisor.json`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from .files import write_private
from .home import Home
from .services import PLATFORM

# The start time of a process is known to a hundredth of a second; the clock may have been set.
START_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class Child:
    """One process: `address` is where it listens, and `pid` is 0 while nothing runs.

    `failed` says that nobody will restart it.
    """

    address: str
    pid: int = 0
    restarts: int = 0
    last_exit: str = ""
    failed: bool = False


@dataclass(frozen=True)
class State:
    """One system; `start_seconds` tells the supervisor from a later process with its number."""

    pid: int
    start_seconds: float
    port_base: int
    platform: Child
    services: Mapping[str, Child]

    @property
    def children(self) -> dict[str, Child]:
        """Return every process of the system but the supervisor."""
        return {PLATFORM.name: self.platform, **self.services}

    @property
    def is_alive(self) -> bool:
        """Return whether that very supervisor still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.start_seconds) < START_TOLERANCE_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @property
    def addresses(self) -> dict[str, str]:
        """Return service -> host:port."""
        return {name: child.address for name, child in self.services.items()}

    def write(self, home: Home) -> None:
        """Replace what the home folder says."""
        write_private(home.state_file, json.dumps(dataclasses.asdict(self), indent=1).encode())


def read_state(home: Home) -> State | None:
    """Return what the last supervisor wrote, dead or alive; None if there is nothing to read."""
    try:
        found = json.loads(home.state_file.read_bytes())
        services = {name: Child(**child) for name, child in found.pop("services").items()}
        platform = Child(**found.pop("platform"))
        return State(platform=platform, services=services, **found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        # Not ours, or of another release: as good as nothing, and the next `up` replaces it.
        return None


def read_alive(home: Home) -> State | None:
    """Return the state of a supervisor that runs."""
    state = read_state(home)
    return state if state is not None and state.is_alive else None
