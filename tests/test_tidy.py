"""The repository checks itself: sizes, names, layers, and that the contracts tell the truth."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("assembler", "gas", "keymanager", "knowledge", "linker", "runtime")
PACKAGES = (
    *("actionvm", "chassis", "cli", "enrolment", "models", "platformd", "protos", "sandbox"),
    "tests",
    *SERVICES,
)

FILE_LINES_MAX = 400
PROTO_LINES_MAX = 800
FUNCTION_LINES_MAX = 60
COLUMNS_MAX = 100

# The modules that know the outside world, also as packages; all others of a service are inside.
EDGE_MODULES = ("__main__", "clients", "messages", "service", "services")
# The modules of the chassis that the inside of a service may use.
CHASSIS_INSIDE = (
    "canonical",
    "certificates",
    "clock",
    "config",
    "courier",
    "database",
    "draft",
    "errors",
    "ethereum",
    "evidence",
    "expressions",
    "fields",
    "glob",
    "group_commit",
    "hours",
    "identity",
    "log",
    "periods",
    "problems",
    "receivers",
    "rlp",
    "schemas",
    "seal",
    "source",
)
OUTSIDE = ("actionvm", "google", "grpc", "grpc_health", "grpc_reflection", "grpc_status")

# Absolute folders of one machine, and hosts of package registries.
FOREIGN = re.compile(
    r"(?<![\w.~-])/(?:work|root|home|Users)\b"
    r"|\b(?:pypi|pythonhosted|npmjs|crates)\.(?:org|com|io)\b"
)


# --- Sizes ---------------------------------------------------------------------------------------


def test_no_file_is_too_long() -> None:
    def limit(path: Path) -> int:
        return PROTO_LINES_MAX if path.suffix == ".proto" else FILE_LINES_MAX

    _assert_none(
        f"{name(path)}: {len(lines)} lines, {limit(path)} are allowed"
        for path in code()
        if len(lines := text(path).splitlines()) > limit(path)
    )


def test_no_line_is_too_long() -> None:
    # A suppression has to stand on the line it is for, with its reason.
    suppression = re.compile(r"  # (?:noqa|type: ignore).*")
    _assert_none(
        f"{name(path)}:{number}: {columns} columns, {COLUMNS_MAX} are allowed"
        for path in code()
        for number, line in enumerate(text(path).splitlines(), start=1)
        if (columns := len(suppression.sub("", line))) > COLUMNS_MAX
    )


def test_no_function_is_too_long() -> None:
    functions = [*_python_functions(), *_shell_functions()]
    _assert_none(
        f"{where}: {lines} lines, {FUNCTION_LINES_MAX} are allowed"
        for where, lines in functions
        if lines > FUNCTION_LINES_MAX
    )


def _python_functions() -> Iterator[tuple[str, int]]:
    for path in python():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{name(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def _shell_functions() -> Iterator[tuple[str, int]]:
    for path in shell():
        for match in re.finditer(r"^(\w+)\(\) \{\n(.*?)^\}", text(path), re.MULTILINE | re.DOTALL):
            yield f"{name(path)} {match[1]}", match[2].count("\n") + 2


# --- Names and texts -----------------------------------------------------------------------------


def test_no_installed_distribution_owns_one_of_our_names() -> None:
    owners = packages_distributions()
    _assert_none(f"{owners[package]} ships {package}" for package in PACKAGES if package in owners)


def test_every_package_has_an_init() -> None:
    folders = {
        folder
        for path in python(generated=True)
        for folder in path.parents
        if folder.is_relative_to(ROOT) and name(folder).split("/")[0] in PACKAGES
    }
    # `protos` holds contracts and one script.
    folders -= {ROOT, ROOT / "protos"}
    _assert_none(name(path) for path in sorted(folders) if not (path / "__init__.py").exists())


def test_every_module_starts_with_what_it_is_for() -> None:
    _assert_none(name(path) for path in python() if not ast.get_docstring(tree(path)))


def test_every_todo_has_an_issue() -> None:
    _assert_none(
        f"{name(path)}: {match[0]}"
        for path in code()
        for match in re.finditer(r"\b[T]ODO\b(?!\s*\(?#\d)[^\n]*", text(path))
    )


def test_no_file_names_a_machine_or_a_registry() -> None:
    _assert_none(
        f"{name(path)}:{number}: {match[0]}"
        for path in files()
        for number, line in enumerate(text(path).splitlines(), start=1)
        if (match := FOREIGN.search(line))
    )


def test_documents_name_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    _assert_none(
        f"{name(path)}: make {target}"
        for path in files()
        if path.suffix == ".md"
        for snippet in re.findall(r"```.*?```|`[^`\n]+`", text(path), re.DOTALL)
        for target in re.findall(r"(?:^|[`\n&;$])\s*make ([a-z]+)", snippet)
        if target not in targets
    )


# --- Layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_contract_has_its_service(service: str) -> None:
    modules = ("README.md", "__main__.py", "config.py", "errors.py", "service.py")
    wanted = [
        ROOT / f"protos/actionvm/{service}/v1/{service}.proto",
        *(ROOT / service / module for module in modules),
    ]
    _assert_none(name(path) for path in wanted if not path.exists())


def test_what_we_write_has_tests() -> None:
    packages = ("chassis", "cli", "models", "platformd", "sandbox", *SERVICES)
    folders = [ROOT / "tests" / package for package in packages]
    _assert_none(name(folder) for folder in folders if not list(folder.rglob("test_*.py")))


def test_the_inside_of_a_service_knows_no_network() -> None:
    _assert_none(
        f"{name(path)}:{line}: imports {module}"
        for service in SERVICES
        for path in python(service)
        if not {path.stem, path.parent.name} & set(EDGE_MODULES)
        for line, module in imports(path)
        if _is_outside(module)
    )


def _is_outside(module: str) -> bool:
    package, _, rest = module.partition(".")
    if package == "chassis":
        return rest.split(".")[0] not in CHASSIS_INSIDE
    # Google's package for Gemini is a provider's, like OpenAI's; its others are gRPC's.
    return package in OUTSIDE and not module.startswith("google.genai")


def test_the_inside_of_the_chassis_knows_no_network() -> None:
    _assert_none(
        f"{name(path)}:{line}: imports {module}"
        for path in python("chassis")
        if {path.stem, path.parent.name} & set(CHASSIS_INSIDE)
        for line, module in imports(path)
        if module.split(".")[0] in OUTSIDE
    )


# --- Contracts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_every_reason_of_a_service_is_documented(service: str) -> None:
    undocumented = declared_reasons(service) - documented_reasons(service)
    _assert_none(f"{service}.proto has no {reason}" for reason in sorted(undocumented))


@pytest.mark.parametrize("service", SERVICES)
def test_every_documented_reason_exists(service: str) -> None:
    known = declared_reasons(service) | declared_reasons("chassis")
    missing = documented_reasons(service) - known
    _assert_none(f"{service}/errors.py lacks {reason}" for reason in sorted(missing))


def documented_reasons(service: str) -> set[str]:
    """Return what the contract lists as (reason `X`), also when a line breaks in between."""
    contracts = sorted((ROOT / f"protos/actionvm/{service}/v1").glob("*.proto"))
    contract = "\n".join(map(text, contracts))
    joined = re.sub(r"\s*\n\s*//\s*", " ", contract)
    return set(re.findall(r"\(reason `([A-Z_]+)`", joined))


def declared_reasons(package: str) -> set[str]:
    """Return the values of `reason = "X"` in the bodies of the error classes."""
    return {
        statement.value.value
        for node in ast.walk(tree(ROOT / package / "errors.py"))
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and [ast.unparse(target) for target in statement.targets] == ["reason"]
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    }


# --- The files -----------------------------------------------------------------------------------


@cache
def files() -> tuple[Path, ...]:
    """Return the text files that people wrote, which git has or would take."""
    paths = _files_of_git() if (ROOT / ".git").exists() else _files_on_disk()
    written = (path for path in sorted(paths) if path.is_file() and not _is_generated(path))
    return tuple(path for path in written if b"\0" not in path.read_bytes())


def _files_of_git() -> set[Path]:
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    # A container may run the tests in a checkout of another user.
    git = ("git", "-c", "safe.directory=*", *listing)
    output = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {ROOT / path for path in output.split("\0") if path}


def _files_on_disk() -> set[Path]:
    """Return what lies in an archive of the repository: all but what tools leave behind."""
    top = (path for path in ROOT.iterdir() if not path.name.startswith("."))
    below = (path for folder in top if folder.is_dir() for path in folder.rglob("*"))
    return {path for path in (*ROOT.glob("*.*"), *below) if path.suffix not in {".pyc", ".gguf"}}


def _is_generated(path: Path) -> bool:
    return path.is_relative_to(ROOT / "actionvm") or path.suffix == ".lock"


def code() -> list[Path]:
    """Return the files that the limits of size are for."""
    return [*python(), *shell(), *(path for path in files() if path.suffix == ".proto")]


def python(folder: str = ".", *, generated: bool = False) -> list[Path]:
    """Return the modules below a folder of the repository."""
    modules = [path for path in files() if path.suffix == ".py"]
    if generated:
        modules += (ROOT / "actionvm").rglob("*.py")
    return [path for path in modules if path.is_relative_to(ROOT / folder)]


def shell() -> list[Path]:
    """Return the shell scripts, which have no suffix."""
    return [path for path in files() if re.match(r"#!.*\b(?:ba)?sh\n", text(path))]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of every absolute import, wherever it stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            # `from chassis import errors` imports `chassis.errors`.
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, module) for module in modules)


@cache
def text(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(text(path))


def name(path: Path) -> str:
    """Return the path as people say it."""
    return str(path.relative_to(ROOT))


def _assert_none(problems: Iterable[str]) -> None:
    found = sorted(problems)
    assert not found, "\n" + "\n".join(found)
