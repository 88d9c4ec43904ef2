"""Compiles the code of actions in a sandbox, and says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import sandbox.ports
from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw, clip, suggest
from sandbox.errors import SandboxUnavailable as NothingExecutes
from sandbox.frames import Broken
from sandbox.outcome import Described, Examined
from sandbox.outcome import Flaw as CodeFlaw
from sandbox.schemas import parameters_problem, schema_problem

from .errors import SandboxUnavailable
from .ports import Compiler, KnownAction
from .problems import Code
from .sources import SANDBOX_MODULES, Sources, find_sources, report_in

ACTIONS: FieldPath = ("spec", "actions")
DESCRIPTION_CHARACTERS_MAX = 1_024
# As the runtime has it.
_NAME = re.compile(r"[a-z0-9_.-]{1,64}")
_SETTINGS_OF_NONE: dict[str, Json] = {"type": "object", "additionalProperties": False}


@dataclass(frozen=True)
class Compiled:
    """The code of an action, and what it says of itself; `capabilities` are what it declares.

    `fuel` is how many instructions it took to load and to describe it.
    """

    action: KnownAction
    code: sandbox.ports.Executable
    capabilities: frozenset[str]
    fuel: int


class Compilation:
    """The code of one draft; `known` has actions by what they are called in its grants."""

    def __init__(
        self,
        draft: Draft,
        compiler: Compiler,
        *,
        files: Mapping[str, bytes],
        known: Mapping[str, KnownAction],
    ) -> None:
        self._draft = draft
        self._compiler = compiler
        self._files = files
        self._known = known
        self._examined: dict[str, Examined] = {}
        # By the index of the action.
        self.compiled: dict[int, Compiled] = {}
        self.paths = [path for path in draft.items(ACTIONS) if draft.text((*path, "source"))]

    async def compile(self, path: FieldPath) -> Compiled | None:
        """Compile the code of one action; raise `SandboxUnavailable`."""
        sources = find_sources(self._draft, path, self._files)
        if sources is None:
            return None
        sha256 = sources.code.sha256
        is_first = sha256 not in self._examined
        if is_first:
            self._examined[sha256] = await self._examine(sources.code)
        examined = self._examined[sha256]
        if is_first:
            self._report(path, sources, examined.flaws)
        described = None if examined.flaws else self._choose(path, sources, examined)
        if described is None or not self._fits(path, sources, described):
            return None
        found = Compiled(
            action=self._action(path, sources, described),
            code=sources.code,
            capabilities=frozenset(described.capabilities),
            fuel=examined.fuel,
        )
        self._check_fuel(path, found)
        index = path[-1]
        assert isinstance(index, int)
        self.compiled[index] = found
        return found

    async def _examine(self, code: sandbox.ports.Executable) -> Examined:
        try:
            return await self._compiler.examine(code)
        except (NothingExecutes, Broken) as error:
            raise SandboxUnavailable(str(error)) from error

    def _report(self, path: FieldPath, sources: Sources, flaws: tuple[CodeFlaw, ...]) -> None:
        """Report what is wrong; nothing that code says of itself is trusted."""
        modules = SANDBOX_MODULES
        for flaw in flaws:
            is_component = isinstance(sources.code, sandbox.ports.Component)
            code, message, fix = _refused(flaw) if is_component else _told(flaw, modules)
            if flaw.kind == "import" and modules and not is_component:
                fix = f"{fix} {_NATIVE_FIX.format(sources.code.sha256)}"
                # One list of them is enough.
                modules = ()
            file = flaw.file if flaw.file in sources.paths else sources.code.main
            report_in(
                self._draft,
                (*path, "source"),
                code,
                message,
                file=sources.paths[file],
                line=flaw.line,
                column=_column(flaw, sources.text(file)),
                fix=fix,
            )

    def _choose(self, path: FieldPath, sources: Sources, examined: Examined) -> Described | None:
        """Return the action that is meant; report that there is none."""
        draft, function = self._draft, (*path, "function")
        names = [one.name for one in examined.actions]
        wanted = draft.text(function)
        if not names:
            message = "has no action"
            fix = "Write `@action` of `actionvm_sdk` before a function in it."
            if isinstance(sources.code, sandbox.ports.Component):
                fix = "Let its export `describe` tell of one."
            draft.report((*path, "source"), Code.FUNCTION_NOT_FOUND, message, fix=fix)
        elif not wanted and len(names) == 1 and function not in draft.spots:
            return examined.actions[0]
        elif not wanted:
            fix = f"Say which one it is. {suggest('', names)}"
            message = f"`{clip(draft.text((*path, 'source')))}` has {len(names)} actions"
            draft.report(function, Flaw.MISSING_FIELD, message, fix=fix)
        elif names.count(wanted) > 1:
            message = f"`{wanted}` comes {names.count(wanted)} times in the file"
            fix = "Give each a name of its own: `@action(name=…)`."
            draft.report(function, Flaw.DUPLICATE_ITEM, message, fix=fix)
        elif wanted not in names:
            message = f"there is no action `{wanted}` in the file"
            draft.report(function, Code.FUNCTION_NOT_FOUND, message, fix=suggest(wanted, names))
        else:
            return examined.actions[names.index(wanted)]
        return None

    def _fits(self, path: FieldPath, sources: Sources, described: Described) -> bool:
        """Tell whether an action is one that the runtime takes; report why not."""
        unfit = _unfit(described)
        if unfit:
            code, message, fix = unfit
            main, line = sources.code.main, max(1, described.line)
            report_in(self._draft, (*path, "source"), code, message, file=main, line=line, fix=fix)
        return not unfit

    def _action(self, path: FieldPath, sources: Sources, described: Described) -> KnownAction:
        uses = [self._draft.text((*grant, "use")) for grant in self._draft.items((*path, "grants"))]
        granted = [self._known[use] for use in uses if use in self._known]
        writes = any(
            one.effect == "write" and one.name in described.capabilities for one in granted
        )
        return KnownAction(
            name=described.name,
            program=f"code:{sources.code.sha256}",
            description=described.description[:DESCRIPTION_CHARACTERS_MAX],
            parameters_schema=described.parameters_schema,
            effect="write" if writes else "read",
            needs_credential=False,
            settings_schema=_SETTINGS_OF_NONE,
            output_schema=described.output_schema,
        )

    def _check_fuel(self, path: FieldPath, compiled: Compiled) -> None:
        fuel: FieldPath = (*path, "compute", "fuel")
        given = self._draft.get(fuel)
        if isinstance(given, int) and given < compiled.fuel:
            message = f"is used up while it is loaded, which takes {compiled.fuel} instructions"
            self._draft.report(fuel, Flaw.CONTRADICTION, message, fix="Raise it.")


def _unfit(described: Described) -> tuple[str, str, str] | None:
    """Return why the runtime would not take an action: a code, and what to say."""
    name = clip(described.name)
    if not _NAME.fullmatch(described.name):
        fix = "Use `a-z`, `0-9` and `_`: rename it, or say `@action(name=…)`."
        return Flaw.INVALID_VALUE, f"`{name}` is no name of an action", fix
    if problem := parameters_problem(described.parameters_schema):
        message = f"the schema of the parameters of `{name}` is not taken: {problem}"
        return Code.TYPE_NOT_JSON, message, _TYPES_FIX
    if problem := schema_problem(described.output_schema):
        message = f"the schema of the result of `{name}` is not taken: {problem}"
        return Code.TYPE_NOT_JSON, message, _TYPES_FIX
    return None


def _refused(flaw: CodeFlaw) -> tuple[str, str, str]:
    """Return the code of a problem of a component, and what it and its way out are in words."""
    said = clip(flaw.message, length_max=200)
    if flaw.kind == "import":
        fix = "Build it for `wasm32-unknown-unknown`, with no more than the world `action`."
        return Code.IMPORT_NOT_FOUND, f"imports what nobody may have: {said}", fix
    if flaw.kind == "schema":
        return Code.TYPE_NOT_JSON, said, "Let `describe` give other schemas."
    fix = "It is loaded for every call: build it again, for the world `action`, with less in it."
    return Code.CODE_FAILED, f"is no component that can be executed: {said}", fix


def _told(flaw: CodeFlaw, modules: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the code of a problem, and what it and its way out are in words."""
    said = clip(flaw.message, length_max=200)
    if flaw.kind == "syntax":
        return Code.SYNTAX_INVALID, f"is not Python: {said}", ""
    if flaw.kind == "import":
        message = f"there is no module `{clip(flaw.message)}` in the sandbox"
        fix = f"Bundle it below `packages:`. {suggest(flaw.message, modules)}".strip()
        return Code.IMPORT_NOT_FOUND, message, fix
    if flaw.kind == "schema":
        return Code.TYPE_NOT_JSON, said, _TYPES_FIX
    fix = "It is loaded for every call, with nothing to ask for: leave the work to the function."
    return Code.CODE_FAILED, f"fails while it is loaded: {said}", fix


def _column(flaw: CodeFlaw, text: str) -> int:
    """Return a column in characters: Python counts bytes, but for what is wrong with its syntax."""
    if flaw.kind == "syntax":
        return flaw.column
    # As Python counts lines, which is not as `splitlines` does.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    line = lines[flaw.line - 1] if flaw.line <= len(lines) else ""
    return len(line.encode()[: flaw.column - 1].decode(errors="ignore")) + 1


_NATIVE_FIX = (
    "If it needs native wheels, the operator may let it out of WebAssembly: CODE_NATIVE of the "
    "assembler and the runtime, {}."
)
_TYPES_FIX = (
    "Use str, int, float, bool, None, list, dict with str as keys, Literal, an Enum, a TypedDict "
    "or a dataclass."
)
