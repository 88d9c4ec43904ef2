"""A PostgreSQL server for tests and benchmarks, from the programs that the machine has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

# Where Debian keeps what is not on the path.
DEBIAN = "/usr/lib/postgresql/*/bin"
# The server refuses to run as root; a machine that has it has this user.
USER = "postgres"


class PostgresMissing(Exception):
    """The machine has no PostgreSQL server, or no driver for it."""


@dataclass
class Postgres:
    """A server that listens in a folder."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        """Return where a database is."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def fresh_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"ledger{next(self._numbers)}"
        engine = create_engine(self.url(USER), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)


@contextmanager
def running_postgres(*, fsync: bool) -> Iterator[Postgres]:
    """Run a server on a socket in a folder of its own, or raise `PostgresMissing`."""
    try:
        import psycopg  # noqa: F401, PLC0415  # only to know whether it is there
    except ImportError as error:
        raise PostgresMissing("psycopg is not installed") from error
    initdb, postgres = _program("initdb"), _program("postgres")
    user = USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="gas") as home:
        folder = Path(home)
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        made = [initdb, "--auth=trust", f"--username={USER}", "--no-sync", str(data)]
        subprocess.run(made, user=user, cwd="/", check=True, capture_output=True)
        settings = ["listen_addresses=", f"fsync={'on' if fsync else 'off'}"]
        options = [part for setting in settings for part in ("-c", setting)]
        command = [postgres, "-D", str(data), "-k", str(folder), *options]
        with subprocess.Popen(
            command, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as server:
            try:
                assert server.stderr is not None
                if not any(b"ready to accept" in line for line in server.stderr):
                    raise PostgresMissing("the PostgreSQL server of this machine does not start")
                yield Postgres(folder)
            finally:
                # Without a word to its clients: their data is thrown away with it.
                server.send_signal(signal.SIGQUIT)
                server.wait(10)


def _program(name: str) -> str:
    folders = sorted(map(str, Path("/").glob(DEBIAN.removeprefix("/"))))
    found = shutil.which(name) or next(
        (path for folder in folders if (path := shutil.which(name, path=folder))), None
    )
    if found is None:
        raise PostgresMissing(f"{name} of PostgreSQL is not installed")
    return found
