"""Says what a process is: its role, the hash of its code, who signed that, how new it is.

A role is given only to a process that was started in a way which leaves no place for other code.
Anybody else has the role "", so that its keys and counters are nobody's, and `problem` says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import protocol
from .memory import Unclean
from .process import Process
from .release import Release, owner_signer
from .sources import Sources

ROLES = ("assembler", "gas", "keymanager", "knowledge", "linker", "runtime")
SHARED_FOLDERS = ("actionvm", "chassis", "enrolment", "platformd", "sandbox")
# One process imports everything, then forks: all of it is in each of its children.
SUPERVISOR = "cli.supervisor"
SUPERVISED_FOLDERS = (*SHARED_FOLDERS, "cli", *ROLES)
PACKAGES = frozenset((*SUPERVISED_FOLDERS, "models", "tests"))

# Options and variables of Python that bring in no code and take away no check.
OPTIONS = frozenset(("-B", "-P", "-q", "-s", "-u"))
VARIABLES = frozenset(
    f"PYTHON{name}"
    for name in (
        *("DONTWRITEBYTECODE", "FAULTHANDLER", "HASHSEED", "IOENCODING", "NOUSERSITE"),
        *("PATH", "SAFEPATH", "UNBUFFERED", "UTF8"),
        # What the images of Python set; the interpreter does not read it.
        *("_GET_PIP_SHA256", "_GET_PIP_URL", "_PIP_VERSION", "_SETUPTOOLS_VERSION"),
        *("_SHA256", "_VERSION"),
    )
)
# Other variables that make libraries load code.
LOADING = ("GCONV_PATH", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES")
TRUSTED_FOLDERS = ("/lib", "/lib64", "/opt", "/usr")


@dataclass(frozen=True)
class Measurement:
    """What platformd says about a caller; `code` and `signer` are SHA-256 hashes."""

    role: str
    code: bytes
    signer: bytes
    security_version: int
    debug: bool
    problem: str = ""


@dataclass(frozen=True)
class Interpreter:
    """The Python that platformd itself runs in, which its callers must share."""

    executable: str
    command: str
    prefixes: tuple[str, ...]
    start_files: tuple[str, ...]
    user_site: str


class Measurer:
    """Measures the processes that run one checkout."""

    def __init__(
        self,
        sources: Sources,
        interpreter: Interpreter,
        *,
        release: Release | None,
        uid: int,
    ) -> None:
        self._sources = sources
        self._interpreter = interpreter
        self._release = release
        self._uid = uid

    def measure(self, process: Process, vouched: str) -> Measurement:
        """Say what a process is; `vouched` is what its supervisor calls it, or empty."""
        module, problem = self._module(process)
        role = (vouched if module == SUPERVISOR else module) if not problem else ""
        if not problem and role not in ROLES:
            problem = f"{module} has no role" if module != SUPERVISOR else "nobody vouches for it"
            role = ""
        folders: dict[str, str] = {}
        lock = libraries = started = ""
        try:
            self._sources.check_top(PACKAGES)
            wanted = SUPERVISED_FOLDERS if module == SUPERVISOR else (*SHARED_FOLDERS, role)
            folders = {name: self._sources.hash_folder(name) for name in wanted if name}
            lock = self._sources.hash_file(f"{self._sources.checkout}/requirements.lock")
            started = self._hash_all(self._interpreter.start_files)
            libraries = self._hash_all((process.executable, *process.libraries))
        except Unclean as error:
            role, problem = "", problem or str(error)
        facts = {f"sources.{name}": found for name, found in folders.items()}
        facts |= {"lock": lock, "libraries": libraries, "started": started}
        facts |= {"module": module, "role": role, "problem": problem}
        if problem:
            facts["arguments"] = "\0".join(process.arguments)
            facts["environment"] = repr(sorted(process.environment.items()))
        code = hashlib.sha256(protocol.encode(facts)).digest()
        release = self._release
        if release is None or not role or not release.covers(lock, folders):
            return Measurement(role, code, owner_signer(self._uid), 0, debug=True, problem=problem)
        return Measurement(role, code, release.signer, release.security_version, debug=False)

    def warm(self) -> None:
        """Read all sources once, while nobody waits."""
        for name in SUPERVISED_FOLDERS:
            try:
                self._sources.hash_folder(name)
            except Unclean:
                continue  # whoever is measured is told

    def _hash_all(self, paths: tuple[str, ...]) -> str:
        total = hashlib.sha256()
        for path in paths:
            found = self._sources.hash_file(path)
            total.update(f"{path}\0{found}\n".encode(errors="surrogateescape"))
        return total.hexdigest()

    def _module(self, process: Process) -> tuple[str, str]:
        """Return what `python -m` runs there, and what is wrong with the way it was started."""
        arguments = process.arguments
        at = next((at for at, one in enumerate(arguments) if at and one not in OPTIONS), 0)
        if arguments[at : at + 1] != ("-m",) or len(arguments) < at + 2:
            return "", "it was not started as python -m <module>"
        problem = next(self._problems(process, frozenset(arguments[1:at])), "")
        return arguments[at + 1], problem

    def _problems(self, process: Process, options: frozenset[str]) -> Iterator[str]:
        own = self._interpreter
        environment = process.environment
        if not process.shares_namespaces:
            yield "it sees other files or processes than platformd"
        if (process.executable, process.arguments[0]) != (own.executable, own.command):
            yield f"it runs another interpreter than {own.command}"
        # Which folder it was started in cannot be known: it may have left it since.
        if "-P" not in options and not environment.get("PYTHONSAFEPATH"):
            yield "it imports from the folder it was started in; set PYTHONSAFEPATH=1"
        if environment.get("PYTHONPATH") != self._sources.checkout:
            yield f"PYTHONPATH is not {self._sources.checkout}"
        if own.user_site and "-s" not in options and not environment.get("PYTHONNOUSERSITE"):
            yield f"it imports from {own.user_site}; start it with python -s"
        yield from self._variables(environment)
        for path in process.libraries:
            if path.endswith(" (deleted)") or not self._is_trusted(path):
                yield f"it has loaded {path}"

    def _variables(self, environment: Mapping[str, str]) -> Iterator[str]:
        for name, value in sorted(environment.items()):
            if not value or name in VARIABLES:
                continue
            if name == "LD_LIBRARY_PATH" and all(map(self._is_trusted, value.split(":"))):
                continue
            if name.startswith(("LD_", "PYTHON")) or name in LOADING:
                yield f"{name} is set; unset it"

    def _is_trusted(self, path: str) -> bool:
        """Tell whether libraries may come from there; each of them is hashed all the same."""
        places = (*TRUSTED_FOLDERS, *self._interpreter.prefixes)
        return ".." not in path and path.startswith(tuple(f"{place}/" for place in places))
