"""No way to slip code into a service leaves it the keys of the service."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from platformd import protocol

from .checkouts import PROBE, Checkout, derive

Answer = Mapping[str, protocol.Value]
Injection = Callable[[Checkout, Path], dict[str, object]]

EVIL = "hour = 'wrong'\n"
RIGHT = "hour = 'right'\n"


def other_source(checkout: Checkout, _: Path) -> dict[str, object]:
    checkout.write("chassis/clock.py", EVIL)
    return {}


def further_module(checkout: Checkout, _: Path) -> dict[str, object]:
    checkout.write("keymanager/helper.py", EVIL)
    return {}


def stale_compiled_file(checkout: Checkout, _: Path) -> dict[str, object]:
    """Fit time and size of the source, but not its content."""
    source = checkout.folder / "chassis/clock.py"
    times = source.stat()
    source.write_text(EVIL)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    py_compile.compile(str(source))
    source.write_text(RIGHT)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    return {}


def unchecked_compiled_file(checkout: Checkout, _: Path) -> dict[str, object]:
    source = checkout.write("chassis/clock.py", EVIL)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), invalidation_mode=unchecked)
    source.write_text(RIGHT)
    return {}


def native_module_before_the_source(checkout: Checkout, _: Path) -> dict[str, object]:
    checkout.write("chassis/other.abi3.so", "")
    return {}


def module_in_place_of_a_library(checkout: Checkout, _: Path) -> dict[str, object]:
    checkout.write("cryptography.py", "")
    return {}


def package_in_place_of_a_library(checkout: Checkout, _: Path) -> dict[str, object]:
    checkout.write("cryptography/__init__.py", "")
    return {}


def link_in_the_sources(checkout: Checkout, folder: Path) -> dict[str, object]:
    (folder / "evil.py").write_text(EVIL)
    (checkout.folder / "chassis/clock.py").unlink()
    (checkout.folder / "chassis/clock.py").symlink_to(folder / "evil.py")
    return {}


def source_that_others_can_write(checkout: Checkout, _: Path) -> dict[str, object]:
    (checkout.folder / "chassis/clock.py").chmod(0o666)
    return {}


def other_lock(checkout: Checkout, _: Path) -> dict[str, object]:
    checkout.write("requirements.lock", "cryptography==1\n")
    return {}


def site_customization_on_the_path(checkout: Checkout, folder: Path) -> dict[str, object]:
    (folder / "sitecustomize.py").write_text("import builtins; builtins.evil = True\n")
    return {"environment": {"PYTHONPATH": f"{folder}:{checkout.folder}"}}


def preloaded_library(_: Checkout, __: Path) -> dict[str, object]:
    library = next(Path("/usr/lib").rglob("libz.so*"))
    return {"environment": {"LD_PRELOAD": str(library)}}


def library_folder_of_a_stranger(_: Checkout, folder: Path) -> dict[str, object]:
    return {"environment": {"LD_LIBRARY_PATH": str(folder)}}


def audit_library(_: Checkout, __: Path) -> dict[str, object]:
    return {"environment": {"LD_AUDIT": "libnothing.so"}}


def openssl_configuration(_: Checkout, folder: Path) -> dict[str, object]:
    return {"environment": {"OPENSSL_CONF": str(folder / "evil.cnf")}}


def other_breakpoint(_: Checkout, __: Path) -> dict[str, object]:
    return {"environment": {"PYTHONBREAKPOINT": "evil.hook"}}


def no_assertions(_: Checkout, __: Path) -> dict[str, object]:
    return {"options": ["-O"]}


def other_place_of_compiled_files(_: Checkout, folder: Path) -> dict[str, object]:
    return {"options": ["-X", f"pycache_prefix={folder}"]}


def code_on_the_command_line(_: Checkout, __: Path) -> dict[str, object]:
    return {"command": [sys.executable, "-c", PROBE]}


def script_with_the_arguments_of_a_service(_: Checkout, folder: Path) -> dict[str, object]:
    (folder / "evil.py").write_text(PROBE)
    command = [sys.executable, str(folder / "evil.py"), "-m", "keymanager"]
    return {"command": command, "environment": {"PYTHONPATH": "{checkout}"}}


def other_folder_to_import_from(checkout: Checkout, folder: Path) -> dict[str, object]:
    shutil.copytree(checkout.folder / "keymanager", folder / "keymanager")
    return {"folder": folder, "environment": {"PYTHONSAFEPATH": ""}}


def other_folder_that_is_left_again(checkout: Checkout, folder: Path) -> dict[str, object]:
    shutil.copytree(checkout.folder / "keymanager", folder / "keymanager")
    left = f"import os\nos.chdir({str(checkout.folder)!r})\n"
    (folder / "keymanager/__main__.py").write_text(left + PROBE.replace("os.chdir('/')", ""))
    return {"folder": folder, "environment": {"PYTHONSAFEPATH": ""}}


def relative_path(checkout: Checkout, _: Path) -> dict[str, object]:
    return {"environment": {"PYTHONPATH": "."}}


def isolation_that_ignores_the_path(checkout: Checkout, _: Path) -> dict[str, object]:
    code = f"import sys; sys.path.insert(0, {str(checkout.folder)!r}); "
    code += "import runpy; runpy.run_module('keymanager', run_name='__main__')"
    return {"command": [sys.executable, "-I", "-c", code], "arguments": ["-m", "keymanager"]}


def other_virtual_environment(_: Checkout, folder: Path) -> dict[str, object]:
    made = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    return {"command": [str(made / "bin/python"), "-m", "keymanager"]}


def other_name_of_the_interpreter(_: Checkout, folder: Path) -> dict[str, object]:
    (folder / "python").symlink_to(sys.executable)
    return {"command": [str(folder / "python"), "-m", "keymanager"]}


CODE_ONLY = (other_source, further_module, native_module_before_the_source, other_lock)
UNCLEAN = (
    stale_compiled_file,
    unchecked_compiled_file,
    module_in_place_of_a_library,
    package_in_place_of_a_library,
    link_in_the_sources,
    source_that_others_can_write,
    site_customization_on_the_path,
    preloaded_library,
    library_folder_of_a_stranger,
    audit_library,
    openssl_configuration,
    other_breakpoint,
    no_assertions,
    other_place_of_compiled_files,
    code_on_the_command_line,
    script_with_the_arguments_of_a_service,
    other_folder_to_import_from,
    other_folder_that_is_left_again,
    relative_path,
    isolation_that_ignores_the_path,
    other_virtual_environment,
    other_name_of_the_interpreter,
)
REQUESTS = ({"operation": "measure"}, derive("code"), derive("signer"))


def ask(checkout: Checkout, how: dict[str, object]) -> list[dict[str, protocol.Value]]:
    environment = how.get("environment")
    if isinstance(environment, dict):
        how["environment"] = {
            name: str(value).replace("{checkout}", str(checkout.folder))
            for name, value in environment.items()
        }
    return checkout.run(*REQUESTS, **how)  # type: ignore[arg-type] # forwarded


@pytest.mark.parametrize("inject", CODE_ONLY + UNCLEAN, ids=lambda inject: inject.__name__)
def test_other_code_has_not_the_key_of_the_code(
    checkout: Checkout, tmp_path: Path, inject: Injection
) -> None:
    _, before, _ = ask(checkout, {})
    how = inject(checkout, tmp_path)

    _, after, _ = ask(checkout, how)

    assert after["key"] != before["key"]


@pytest.mark.parametrize("inject", UNCLEAN, ids=lambda inject: inject.__name__)
def test_a_start_with_room_for_other_code_has_not_the_key_of_the_signer(
    checkout: Checkout, tmp_path: Path, inject: Injection
) -> None:
    _, _, before = ask(checkout, {})
    how = inject(checkout, tmp_path)

    measured, _, after = ask(checkout, how)

    assert (measured["role"], bool(measured["problem"])) == ("", True)
    assert after["key"] != before["key"]


@pytest.mark.parametrize(
    "how",
    [
        {"options": ["-P", "-s", "-B"], "environment": {"PYTHONSAFEPATH": ""}},
        {"folder": Path("/")},
        {"environment": {"PYTHONUNBUFFERED": "1", "HOME": "/nowhere"}, "arguments": ["--check"]},
    ],
    ids=["options", "other folder", "harmless variables"],
)
def test_a_harmless_way_to_start_changes_nothing(
    checkout: Checkout, how: dict[str, object]
) -> None:
    before = ask(checkout, {})

    assert ask(checkout, how) == before


def test_a_compiled_file_of_python_itself_changes_nothing(checkout: Checkout) -> None:
    before = ask(checkout, {})
    for _ in range(2):
        assert ask(checkout, {"environment": {"PYTHONDONTWRITEBYTECODE": ""}}) == before
    assert list(checkout.folder.rglob("clock*.pyc"))
