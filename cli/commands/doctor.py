"""The command that says in plain words why something does not run: doctor."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict

import typer
from rich.text import Text

from chassis.holders import HoldersMalformed, read_holders
from sandbox.jail import Survey, survey

from ..command import AsJson, home_of
from ..errors import CommandError, ExitCode
from ..health import examine
from ..home import Home
from ..lifecycle import check_ports
from ..machine import Finding, Verdict, check_machine
from ..output import console, print_json, spelled, table
from ..services import MODELS_DIR, PORT_BASE
from ..state import State, read_alive

PYTHON_MIN = (3, 11)
FREE_BYTES_MIN = 500_000_000
OTHERS = 0o077
# What platformd/README.md says at length.
EMULATION = (
    "an emulation of sealed storage: keys are encrypted, but their root key lies on this disk; it "
    "does not protect against root or whoever runs as the same user, as all services do, a changed "
    "platformd, Python or library, a restored image of the whole disk, side channels, or what an "
    "authorized service does"
)


def doctor(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Say what is wrong with machine and system, and the way out.

    Example: actionvm doctor
    """
    home = home_of(context)
    state = read_alive(home)
    findings = [
        check_python(),
        check_compiler(),
        *check_machine(MODELS_DIR),
        check_sandbox(survey()),
        check_home(home),
        check_holders(home),
        check_disk(home),
        *(check_services(home, state) if state else [_check_free_ports()]),
        Finding("key storage", Verdict.NOTE, EMULATION, "platformd/README.md says more"),
    ]
    if as_json:
        print_json({"findings": [asdict(one) for one in findings]})
    else:
        _print(findings)
    failed = [one for one in findings if one.verdict is Verdict.FAIL]
    if any(one.check.startswith("service ") for one in failed):
        raise typer.Exit(ExitCode.UNREACHABLE)
    if failed:
        raise typer.Exit(ExitCode.BAD_INPUT)


def check_python() -> Finding:
    """Check the version of the interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON_MIN:
        return Finding("python", Verdict.FAIL, f"{found} is too old", "install Python 3.11")
    return Finding("python", Verdict.OK, found)


def check_compiler() -> Finding:
    """Look for what builds llama.cpp; once it is built, nobody needs it."""
    missing = [name for name in ("cc", "c++") if shutil.which(name) is None]
    if missing:
        way_out = "only needed to build llama.cpp: install gcc and g++"
        return Finding("compiler", Verdict.NOTE, f"no {' and no '.join(missing)}", way_out)
    return Finding("compiler", Verdict.OK, "cc and c++")


def check_sandbox(found: Survey) -> Finding:
    """Say what would hold code that got out of its virtual machine."""
    lacks = found.lacks()
    if not lacks:
        return Finding("sandbox", Verdict.OK, f"code runs behind {found.layers}")
    missing = "; ".join(f"no {one.layer}: {one.detail}" for one in lacks)
    detail = f"code runs behind {found.layers}; {missing}"
    if not found.is_strong:
        detail += "; too little for code from others"
    return Finding("sandbox", Verdict.NOTE, detail, "; ".join(one.way_out for one in lacks))


def check_home(home: Home) -> Finding:
    """Check that nobody else can read keys and tokens."""
    if not home.folder.exists():
        return Finding("home", Verdict.OK, f"{home.folder} will be made by actionvm up")
    keys = [*home.tokens_dir.glob("*"), *home.folder.glob("*.key")]
    private = [home.folder, home.tokens_dir, *keys]
    for path in private:
        if path.exists() and path.stat().st_mode & OTHERS:
            detail = f"others can read {path}"
            return Finding("home", Verdict.FAIL, detail, f"chmod -R go= {home.folder}")
    return Finding("home", Verdict.OK, f"{home.folder}, private")


def check_holders(home: Home) -> Finding:
    """Say who has to come together to open a backup."""
    try:
        names = [holder.name for holder in read_holders(home.holders_file)]
    except HoldersMalformed as error:
        return Finding("recovery", Verdict.FAIL, f"{error} is malformed", "restore or remove it")
    if not names:
        detail = "no holders of shares: a token of an operator alone takes all keys in a backup"
        return Finding(
            "recovery", Verdict.NOTE, detail, "actionvm recovery add-holder; then back up"
        )
    return Finding("recovery", Verdict.OK, f"shares are sealed to {', '.join(names)}")


def check_disk(home: Home) -> Finding:
    """Check that what is acknowledged can be written."""
    folder = next(path for path in (home.folder, *home.folder.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    if free < FREE_BYTES_MIN:
        return Finding("disk", Verdict.FAIL, detail, "free at least 0.5 GB, or use another --home")
    return Finding("disk", Verdict.OK, detail)


def check_services(home: Home, state: State) -> Iterator[Finding]:
    """Ask every service of a running system."""
    for one in asyncio.run(examine(home, state)):
        name = f"service {one.service}"
        if one.health == "serving":
            yield Finding(name, Verdict.OK, f"serves at {one.child.address}")
        else:
            detail = f"{one.health} at {one.child.address} {one.child.last_exit}".strip()
            yield Finding(name, Verdict.FAIL, detail, "actionvm status shows the end of its log")


def _check_free_ports() -> Finding:
    try:
        check_ports(PORT_BASE)
    except CommandError as error:
        return Finding("ports", Verdict.FAIL, error.message, error.fix)
    return Finding("ports", Verdict.OK, "free; nothing runs, actionvm up starts it")


def _print(findings: list[Finding]) -> None:
    styles = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.FAIL: "bold red"}
    rows = [
        (
            one.check,
            Text(one.verdict.value, styles[one.verdict]),
            spelled(one.detail),
            spelled(one.fix),
        )
        for one in findings
    ]
    console().print(table("check", "", "found", "way out", rows=rows))
