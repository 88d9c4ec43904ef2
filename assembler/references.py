"""Checks what a draft refers to: actions, secrets, collections and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jsonschema import Draft202012Validator
from jsonschema import ValidationError as SchemaViolation
from referencing import Registry

from chassis.canonical import Json
from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw, Severity, clip, suggest

from .agents import CHAIN_LENGTH_MAX, Agent, account_of
from .compiling import ACTIONS, Compiled
from .manifest import COLLECTIONS_MAX
from .policies import check_policy
from .ports import KnownAction, Segment
from .problems import Code
from .steps import check_steps

MODEL: FieldPath = ("spec", "model", "use")
MODEL_CREDENTIAL: FieldPath = ("spec", "model", "credential")
FALLBACKS: FieldPath = ("spec", "model", "fallbacks")
SEGMENTS: tuple[Segment, ...] = ("private", "public")


@dataclass(frozen=True)
class Known:
    """What exists outside the manifest.

    `agents` has those that it asks, by what they are called there, and `secrets` those that it
    names; `agent_accounts` has all that there are, if one that it asks is missing.
    """

    catalogue: Mapping[str, KnownAction]
    agents: Mapping[str, Agent]
    agent_accounts: Sequence[str]
    secrets: frozenset[str]
    segments: Mapping[str, Segment]
    files: Mapping[str, bytes]
    # By the index of the action.
    code: Mapping[int, Compiled]

    @property
    def actions(self) -> Mapping[str, KnownAction]:
        """Return all actions by what they are called in a manifest."""
        return {**self.uses, **{one.action.name: one.action for one in self.code.values()}}

    @property
    def uses(self) -> Mapping[str, KnownAction]:
        """Return those that `use` can name."""
        return {**self.catalogue, **{use: agent.action for use, agent in self.agents.items()}}


def named_secrets(draft: Draft) -> list[str]:
    """Return the `secrets/{id}` that a draft names, in a stable order."""
    parts = [*draft.items(FALLBACKS), *uses(draft)]
    paths = [MODEL_CREDENTIAL, *((*part, "credential") for part in parts)]
    return sorted({f"secrets/{name}" for path in paths if (name := draft.text(path))})


def uses(draft: Draft) -> Iterator[FieldPath]:
    """Yield the path of every action and grant of a draft."""
    for action in draft.items(ACTIONS):
        yield action
        yield from draft.items((*action, "grants"))


def collections(draft: Draft) -> Iterator[tuple[FieldPath, Segment]]:
    """Yield the path and segment of every collection that a draft names."""
    for segment in SEGMENTS:
        for path in draft.items(("spec", "knowledge", segment)):
            yield path, segment


def check_references(draft: Draft, known: Known) -> None:
    """Report every reference of a draft that leads nowhere."""
    for path in (MODEL_CREDENTIAL, *((*one, "credential") for one in draft.items(FALLBACKS))):
        _check_secret(draft, path, known, kind="api_key")
    _check_actions(draft, known)
    _check_collections(draft, known)
    check_steps(draft, known.actions, _callable(draft, known))


def _callable(draft: Draft, known: Known) -> frozenset[str] | None:
    """Return what steps can name; None if nobody knows, since code does not compile."""
    names = {draft.text((*path, "use")) for path in draft.items(ACTIONS)} - {""}
    for index, path in enumerate(draft.items(ACTIONS)):
        if (*path, "source") in draft.spots:
            if index not in known.code:
                return None
            names.add(known.code[index].action.name)
    return frozenset(names)


def _check_actions(draft: Draft, known: Known) -> None:
    seen: dict[str, int] = {}
    for index, path in enumerate(draft.items(ACTIONS)):
        is_code = (*path, "source") in draft.spots
        action = _code_action(draft, path, known) if is_code else _used(draft, path, known)
        if action is None:
            continue
        if action.name in seen:
            message = f"`{action.name}` is also spec.actions[{seen[action.name]}]"
            named = (*path, "source" if is_code else "use")
            draft.report(named, Flaw.DUPLICATE_ITEM, message, fix="Remove one of them.")
        seen.setdefault(action.name, index)
        check_policy(draft, path, action)
        if draft.get((*path, "required")) is True and draft.text((*path, "approval")) == "deny":
            message = "is required and denied, so that no run could succeed"
            fix = "Remove `required` or `approval: deny`."
            draft.report((*path, "required"), Flaw.CONTRADICTION, message, fix=fix)


def _used(draft: Draft, path: FieldPath, known: Known) -> KnownAction | None:
    """Return what an action or a grant uses; report why it cannot."""
    use = draft.text((*path, "use"))
    if not use:
        return None
    action = _agent_action(draft, path, known) if account_of(use) else known.catalogue.get(use)
    if action is None:
        message = f"there is no action `{clip(use)}`"
        fix = suggest(use, known.catalogue)
        draft.report((*path, "use"), Code.ACTION_UNKNOWN, message, fix=fix)
        _check_secret(draft, (*path, "credential"), known, kind="ed25519 --generate")
        return None
    _check_credential(draft, path, action, known)
    _check_settings(draft, path, action)
    return action


def _code_action(draft: Draft, path: FieldPath, known: Known) -> KnownAction | None:
    """Return what code does; report what is wrong with its grants."""
    granted: dict[str, FieldPath] = {}
    is_complete = True
    for grant in draft.items((*path, "grants")):
        action = _used(draft, grant, known)
        if action is None:
            is_complete = False
            continue
        if action.name in granted:
            message, fix = f"`{action.name}` is granted twice", "Remove one of them."
            draft.report((*grant, "use"), Flaw.DUPLICATE_ITEM, message, fix=fix)
        granted.setdefault(action.name, grant)
        check_policy(draft, grant, action)
    compiled = known.code.get(int(path[-1]))
    if compiled is None:
        return None
    for name in sorted(compiled.capabilities - granted.keys()) if is_complete else ():
        message = f"`{compiled.action.name}` declares `{clip(name)}`, which it is not granted"
        where = (*path, "grants", clip(name))
        draft.report(where, Code.GRANT_MISSING, message, fix=_grant_to_add(name, known))
    for name in sorted(granted.keys() - compiled.capabilities):
        message = f"`{compiled.action.name}` does not declare `{name}`, so that it cannot use it"
        fix = f"Remove it, or add it to the code: `@action(capabilities=[{name!r}])`."
        warning = Severity.WARNING
        use = (*granted[name], "use")
        draft.report(use, Code.GRANT_UNUSED, message, fix=fix, severity=warning)
    if compiled.action.name in known.uses:
        message = f"`{compiled.action.name}` is the name of an action of the catalogue"
        fix = "Take another name: rename the function, or say `@action(name=…)`."
        draft.report((*path, "source"), Flaw.DUPLICATE_ITEM, message, fix=fix)
        return None
    return compiled.action


def _grant_to_add(name: str, known: Known) -> str:
    """Return advice with the grant that a capability needs."""
    agent = name.removesuffix(".ask")
    action = known.catalogue.get(name)
    if action is None and agent == name:
        return f"There is no such action. {suggest(name, known.catalogue)}".strip()
    parts = [f"use: {name}" if action else f'use: "agent:{clip(agent)}"']
    if action and action.needs_credential:
        parts.append("credential: NAME")
    if action and action.settings_schema.get("required"):
        parts.append("settings: {…}")
    return f"Add it below `grants:`, or remove it from the code: `- {{{', '.join(parts)}}}`."


def _agent_action(draft: Draft, action_path: FieldPath, known: Known) -> KnownAction | None:
    """Return another agent as an action; report why there is none, or why it must not be asked."""
    path = (*action_path, "use")
    use = draft.text(path)
    account, version = account_of(use), use.partition("@")[2]
    name, own = account.removeprefix("agents/"), draft.text(("metadata", "name"))
    agent = known.agents.get(use)
    if name == own or (agent and f"agents/{own}" in agent.accounts):
        message = f"`{name}` is this agent" if name == own else f"`{name}` asks `{own}` in the end"
        fix = "Remove it: in a chain of agents that wait for each other, each comes once."
        draft.report(path, Code.AGENT_REPEATED, message, fix=fix)
    elif agent is None:
        message = f"no agent `{name}` was assembled here"
        if version and account in known.agent_accounts:
            message = f"no version {clip(version)} of `{name}` was assembled here"
        names = [known_account.removeprefix("agents/") for known_account in known.agent_accounts]
        fix = f"Assemble it first: `actionvm assemble FILE`. {suggest(name, names)}".strip()
        draft.report(path, Code.AGENT_NOT_FOUND, message, fix=fix)
    elif agent.chain_length >= CHAIN_LENGTH_MAX:
        message = f"`{name}` begins a chain of {agent.chain_length} agents that ask each other"
        fix = f"Shorten it: with this agent there may be {CHAIN_LENGTH_MAX}."
        draft.report(path, Code.CALLS_TOO_DEEP, message, fix=fix)
    return agent.action if agent else None


def _check_credential(
    draft: Draft, action_path: FieldPath, action: KnownAction, known: Known
) -> None:
    path = (*action_path, "credential")
    is_given = path in draft.spots
    if action.needs_credential and not is_given:
        message = f"`{action.name}` needs a credential"
        fix = "Add `credential:` with the name of a secret; `actionvm secrets list` shows them."
        draft.report(path, Code.CREDENTIAL_MISSING, message, fix=fix)
    elif is_given and not action.needs_credential:
        message = f"`{action.name}` uses no credential"
        draft.report(path, Code.CREDENTIAL_UNUSED, message, fix="Remove it.")
    _check_secret(draft, path, known, kind="ed25519 --generate")


def _check_secret(draft: Draft, path: FieldPath, known: Known, *, kind: str) -> None:
    name = draft.text(path)
    if name and f"secrets/{name}" not in known.secrets:
        message = f"there is no secret `{name}`"
        fix = f"Make it: `actionvm secrets put {name} --kind {kind}`."
        draft.report(path, Code.SECRET_NOT_FOUND, message, fix=fix)


def _check_settings(draft: Draft, action_path: FieldPath, action: KnownAction) -> None:
    path = (*action_path, "settings")
    settings = draft.get(path)
    if path in draft.spots and not isinstance(settings, Mapping):
        return  # reported with the structure of the manifest
    # An empty registry, so that no reference of a schema is looked up outside.
    validator = Draft202012Validator(action.settings_schema, registry=Registry())
    for violation in validator.iter_errors(settings or {}):
        _report_setting(draft, (*path, *violation.absolute_path), violation, action)


def _report_setting(
    draft: Draft, path: FieldPath, violation: SchemaViolation, action: KnownAction
) -> None:
    schema = violation.schema if isinstance(violation.schema, Mapping) else {}
    value = violation.instance if isinstance(violation.instance, Mapping) else {}
    properties = schema.get("properties", {})
    if violation.validator == "required":
        for name in schema.get("required", ()):
            if name not in value:
                message = f"`{action.name}` needs the setting `{clip(name)}`"
                fix = f"Add it: {_about(properties.get(name))}"
                draft.report((*path, name), Code.SETTING_INVALID, message, fix=fix)
    elif violation.validator == "additionalProperties":
        for name in value:
            if name not in properties:
                message = f"`{action.name}` has no setting `{clip(name)}`"
                fix = suggest(name, properties) or "Remove it; there are no settings."
                place = draft.key_place((*path, name))
                draft.report((*path, name), Flaw.UNKNOWN_FIELD, message, fix=fix, place=place)
    else:
        message = f"is no setting of `{action.name}`: {clip(violation.message, length_max=200)}"
        draft.report(path, Code.SETTING_INVALID, message, fix=_about(schema))


def _about(schema: Json) -> str:
    """Return what a schema says for people."""
    description = schema.get("description") if isinstance(schema, Mapping) else None
    return str(description) if description else ""


def _check_collections(draft: Draft, known: Known) -> None:
    seen: set[str] = set()
    for path, segment in collections(draft):
        _check_documents(draft, (*path, "documents"), known.files)
        name = draft.text((*path, "collection"))
        if name:
            _check_collection(draft, path, segment, known.segments.get(f"collections/{name}"))
        if name in seen:
            message = f"collection `{name}` comes twice"
            fix = "Keep one of them, with all its documents."
            draft.report((*path, "collection"), Flaw.DUPLICATE_ITEM, message, fix=fix)
        seen.add(name)
    if len(list(collections(draft))) > COLLECTIONS_MAX:
        message = f"names more than {COLLECTIONS_MAX} collections"
        draft.report(("spec", "knowledge"), Flaw.OUT_OF_RANGE, message, fix="Put some together.")


def _check_collection(
    draft: Draft, path: FieldPath, segment: Segment, stored: Segment | None
) -> None:
    collection, documents = (*path, "collection"), (*path, "documents")
    name = draft.text(collection)
    brings_none = documents not in draft.spots or draft.get(documents) == []
    if stored is None and brings_none:
        message = f"there is no collection `{name}`"
        fix = "Add `documents:`, or fill it with `actionvm knowledge add`."
        draft.report(collection, Code.COLLECTION_NOT_FOUND, message, fix=fix)
    elif stored not in (None, segment):
        message = f"collection `{name}` exists, and it is {stored}"
        fix = f"Move it to `{stored}:`, or take another name."
        draft.report(collection, Code.SEGMENT_MISMATCH, message, fix=fix)


def _check_documents(draft: Draft, documents: FieldPath, files: Mapping[str, bytes]) -> None:
    seen: set[str] = set()
    for path in draft.items(documents):
        name = draft.text(path)
        if not name:
            continue
        if name in seen:
            message = f"`{clip(name)}` comes twice"
            draft.report(path, Flaw.DUPLICATE_ITEM, message, fix="Remove one of them.")
        seen.add(name)
        if name not in files:
            message = f"there is no file `{clip(name)}`"
            fix = "Check the path; it is relative to the folder of the manifest."
            draft.report(path, Code.DOCUMENT_NOT_FOUND, message, fix=fix)
        elif problem := _unfit(files[name]):
            message = f"`{clip(name)}` {problem}"
            fix = "Give it as plain text or Markdown in UTF-8."
            draft.report(path, Code.DOCUMENT_INVALID, message, fix=fix)


def _unfit(content: bytes) -> str:
    """Return why a file cannot be a document; empty if it can."""
    if not content.strip():
        return "is empty"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    return "holds a NUL character" if "\0" in text else ""
