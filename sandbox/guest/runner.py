"""What runs in the sandbox: compiles the files of an action, describes them, executes one call.

An instance executes one call and is thrown away, so nothing here has to be tidied up.
"""

from __future__ import annotations

import base64
import importlib.abc
import importlib.machinery
import importlib.util
import json
import marshal
import random
import sys
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import wit_world
from wit_world.imports import host as wit_host

import actionvm_sdk
from actionvm_sdk.schemas import SchemaError

from . import stdlib
from .imports import check_imports

# Where the files of an action seem to lie.
ROOT = "/action/"
_TEXT_MAX = 4_096


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]  # made of the WIT when the runner is built
    """The exports of the world; all of it is JSON."""

    def compile(self, files: str) -> str:
        """Return the code of files, or what is wrong with them."""
        sources: dict[str, str] = json.loads(files)
        problems = [found for path in sources for found in _problems(path, sources)]
        if problems:
            return json.dumps({"problems": problems})
        code = {
            path: base64.b64encode(marshal.dumps(_compiled(path, source))).decode()
            for path, source in sources.items()
        }
        return json.dumps({"code": json.dumps(code)})

    def describe(self, code: str, main: str) -> str:
        """Return the actions of a file."""
        try:
            return json.dumps(_described(_load(code, main, wit_host)))
        except BaseException as error:  # noqa: BLE001  # the code of somebody else
            return json.dumps({"error": _told(error)})

    def execute(self, code: str, main: str, call: str) -> str:
        """Return what an action returns, or how it failed."""
        random.seed = _seed
        return execute(wit_host, code, main, call)


class _Imported(Protocol):
    """The host as WebAssembly has it."""

    def ask(self, calls: str, /) -> str: ...
    def log(self, text: str, /) -> None: ...
    def now(self) -> float: ...


class _Host:
    """The host as the SDK asks it."""

    def __init__(self, imported: _Imported) -> None:
        self._imported = imported

    def ask(self, calls: Sequence[actionvm_sdk.Call]) -> list[Any]:
        asked = [{"action": one.action, "arguments": dict(one.arguments)} for one in calls]
        answers = json.loads(self._imported.ask(json.dumps(asked)))
        return [_answer(one) for one in answers]

    def log(self, text: str) -> None:
        self._imported.log(text)

    def now(self) -> float:
        return float(self._imported.now())


def execute(imported: _Imported, code: str, main: str, call: str) -> str:
    """Return what an action returns as JSON, or how it failed."""
    wanted = json.loads(call)
    random.seed(wanted["seed"])
    try:
        actions = _load(code, main, imported)
        (action,) = (one for one in actions if one.name == wanted["action"])
        context = actionvm_sdk.Context(_Host(imported))
        told = {"value": action.invoke(context, wanted["arguments"])}
    except BaseException as error:  # noqa: BLE001  # the code of somebody else
        told = {"error": _told(error)}
    sys.stdout.flush()
    return json.dumps(told)


def _answer(answer: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    reason = answer.get("reason")
    if not reason:
        return answer["value"]
    kind = actionvm_sdk.Denied if reason == "DENIED" else actionvm_sdk.CallError
    return kind(reason, answer.get("message", ""))


class _Printed:
    """What is printed, as lines of the log."""

    def __init__(self, imported: _Imported) -> None:
        self._imported = imported
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._imported.log(line)
        return len(text)

    def flush(self) -> None:
        if self._line:
            self._imported.log(self._line)
            self._line = ""


class _Modules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the files of an action as modules and packages."""

    def __init__(self, code: Mapping[str, str]) -> None:
        self._code = code

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        plain = name.replace(".", "/")
        for file, is_package in ((f"{plain}/__init__.py", True), (f"{plain}.py", False)):
            if file in self._code:
                return importlib.util.spec_from_loader(
                    name, self, origin=f"{ROOT}{file}", is_package=is_package
                )
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        origin = module.__spec__.origin or ""
        exec(self.code(origin.removeprefix(ROOT)), module.__dict__)  # noqa: S102  # it is what this is for

    def code(self, path: str) -> types.CodeType:
        loaded = marshal.loads(base64.b64decode(self._code[path]))  # noqa: S302  # of `compile`
        assert isinstance(loaded, types.CodeType)
        return loaded


def _load(code: str, main: str, imported: _Imported) -> list[actionvm_sdk.Action[Any, Any]]:
    """Execute a file; return its actions in their order."""
    sys.stdout = sys.stderr = _Printed(imported)  # as much of a file as print needs
    modules = _Modules(json.loads(code))
    sys.meta_path.insert(0, modules)
    module = types.ModuleType(main.removesuffix(".py").replace("/", "."))
    module.__file__ = f"{ROOT}{main}"
    sys.modules[module.__name__] = module
    exec(modules.code(main), module.__dict__)  # noqa: S102  # it is what this is for
    # One that has a second name is still one.
    found = [one for one in vars(module).values() if isinstance(one, actionvm_sdk.Action)]
    return [*dict.fromkeys(found)]


def _described(actions: Sequence[actionvm_sdk.Action[Any, Any]]) -> dict[str, Any]:
    """Return what actions say of themselves, or what is wrong with each of them."""
    described, problems, names = [], [], set()
    for one in actions:
        try:
            if one.name in names:
                raise SchemaError(f"{one.name} is the name of two actions")  # noqa: TRY301  # as below
            names.add(one.name)
            described.append(one.describe())
        except SchemaError as error:
            at = {"file": one.file.removeprefix(ROOT), "line": one.line, "column": 1}
            problems.append({**at, "kind": "schema", "message": str(error)[:_TEXT_MAX]})
    return {"problems": problems} if problems else {"actions": described}


def _compiled(path: str, source: str) -> types.CodeType:
    return compile(source, f"{ROOT}{path}", "exec", dont_inherit=True)


def _problems(path: str, sources: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        _compiled(path, sources[path])
    except SyntaxError as error:
        at = {"line": error.lineno or 1, "column": error.offset or 1}
        return [{"file": path, **at, "kind": "syntax", "message": error.msg}]
    except (ValueError, RecursionError, MemoryError) as error:
        return [{"file": path, "line": 1, "column": 1, "kind": "syntax", "message": str(error)}]
    return check_imports(path, sources[path], sources)


def _told(error: BaseException) -> dict[str, Any]:
    """Return an error with the lines of the author only."""
    frames = [
        {
            "file": frame.filename.removeprefix(ROOT),
            "line": frame.lineno,
            "column": (frame.colno or 0) + 1,
            "function": frame.name,
        }
        for frame in traceback.extract_tb(error.__traceback__, limit=-64)
        if frame.filename.startswith(ROOT)
    ]
    kind = "SchemaError" if isinstance(error, SchemaError) else type(error).__name__
    told = {"kind": kind, "message": str(error)[:_TEXT_MAX], "frames": frames[-16:]}
    if isinstance(error, actionvm_sdk.CallError):
        told["reason"] = error.reason
    return told


stdlib.preload()
_seed = random.seed
