"""The bundle: an agent with every reference resolved, as canonical bytes with a signature."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import sandbox.ports
from chassis.canonical import Json, canonical_json, sha256_hex
from sandbox.limits import MEBIBYTE

from .actions import Action, Grant
from .compiling import Compiled
from .manifest import Budget, KnownCollection, Manifest, Model
from .part import seconds_of
from .ports import KnownAction, Link, Signature
from .rules import policy_of
from .workflow import Step, Workflow

FORMAT = "actionvm.bundle/v1"
PAYLOAD_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True)
class Bundle:
    """A signed program; whoever pays for it is `agents/{name}`."""

    account: str
    version: str
    payload: bytes
    signature: Signature

    @property
    def sha256(self) -> str:
        """Return the digest that identifies it."""
        return sha256_hex(self.payload)

    @property
    def name(self) -> str:
        """Return `bundles/{sha256}`."""
        return f"bundles/{self.sha256}"


def serialise(
    manifest: Manifest,
    link: Link,
    *,
    known: Mapping[str, KnownAction],
    code: Mapping[int, Compiled],
    files: Mapping[str, bytes],
) -> bytes:
    """Return the payload. The same arguments give the same bytes.

    `known` has every action of the manifest by what it is called there, and `code` that of the
    actions with these indices.
    """
    spec, model = manifest.spec, manifest.spec.model
    payload: Json = {
        "format": FORMAT,
        "agent": {
            "name": manifest.metadata.name,
            "version": manifest.metadata.version,
            "description": manifest.metadata.description,
        },
        "model": {
            "name": model.use,
            "credential": _secret(model.credential),
            "temperature": model.temperature,
            "top_p": model.top_p,
            "seed": model.seed,
            "tokens_max": model.tokens_max,
            "context_tokens": link.context_tokens,
            "weights_sha256": link.weights_sha256,
            # Not there if they were not said, as below.
            **({"fallbacks": _fallbacks(model)} if model.fallbacks else {}),
            **({"cache_seconds": seconds_of(model.cache)} if model.cache else {}),
        },
        "instructions": spec.instructions,
        "actions": [
            _code_action(action, code[index], known)
            if action.source
            else _action(action, known[action.use], required=action.required)
            for index, action in enumerate(spec.actions)
        ],
        "knowledge": [
            *(_collection(known, "private", files) for known in spec.knowledge.private),
            *(_collection(known, "public", files) for known in spec.knowledge.public),
        ],
        "budget": _budget(spec.budget),
        "limits": {
            "steps": spec.limits.steps,
            "seconds": seconds_of(spec.limits.timeout),
            "passages": spec.limits.passages,
            # Not there if it was not said: so the bundles of before stay what they are.
            **({"gas": spec.limits.gas} if spec.limits.gas else {}),
            **({"output_tokens": spec.limits.output_tokens} if spec.limits.output_tokens else {}),
        },
        **({"workflow": _workflow(spec.workflow, known)} if spec.workflow else {}),
    }
    return canonical_json(payload)


def _workflow(workflow: Workflow, known: Mapping[str, KnownAction]) -> Json:
    return {"steps": [_step(step, known) for step in workflow.steps], "output": workflow.output}


def _step(step: Step, known: Mapping[str, KnownAction]) -> Json:
    failing = step.on_failure
    return {
        "id": step.id,
        "action": known[step.action].name if step.action else "",
        "instructions": step.model,
        "arguments": step.arguments,
        "when": step.when,
        "after": step.after,
        "on_failure": {
            "retries": failing.retry,
            "continues": failing.then == "continue",
            "default": failing.default,
            **({"compensates": True} if failing.then == "compensate" else {}),
            **({"backoff_seconds": seconds_of(failing.backoff)} if failing.backoff else {}),
        },
        **({"each": step.each, "parallel": step.parallel} if step.each else {}),
        **({"output_schema": step.output} if step.output else {}),
        **_repeat_and_undo(step, known),
    }


def _repeat_and_undo(step: Step, known: Mapping[str, KnownAction]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if step.repeat:
        found["repeat"] = {"until": step.repeat.until, "most": step.repeat.most}
    if step.undo:
        action = known[step.undo.action].name
        found["undo"] = {"action": action, "arguments": step.undo.arguments}
    return found


def _fallbacks(model: Model) -> Json:
    return [
        {"name": fallback.use, "credential": _secret(fallback.credential)}
        for fallback in model.fallbacks
    ]


def _budget(budget: Budget) -> Json:
    zone: dict[str, Json] = {} if budget.timezone == "UTC" else {"time_zone": budget.timezone}
    return {"gas": budget.gas, "period": budget.per, **zone}


def _code_action(
    action: Action, compiled: Compiled, known: Mapping[str, KnownAction]
) -> dict[str, Json]:
    granted = [
        (grant, known[grant.use])
        for grant in action.grants
        if known[grant.use].name in compiled.capabilities
    ]
    names: list[Json] = [*sorted(found.name for _, found in granted)]
    grants: list[Json] = [_action(grant, found, required=False) for grant, found in granted]
    return {
        **_action(action, compiled.action, required=action.required),
        "code": {
            "main": compiled.code.main,
            **_content(compiled.code),
            "function": compiled.action.name,
            "capabilities": names,
            "grants": grants,
            "output_schema": compiled.action.output_schema,
            "limits": {
                "fuel": action.compute.fuel,
                "memory_bytes": action.compute.memory * MEBIBYTE,
                "wall_seconds": seconds_of(action.compute.timeout),
                "host_calls": action.compute.calls,
            },
        },
    }


def _content(code: sandbox.ports.Executable) -> dict[str, Json]:
    if isinstance(code, sandbox.ports.Component):
        return {"files": {}, "wasm": base64.b64encode(code.wasm).decode()}
    return {"files": dict(code.files)}


def _action(action: Grant, found: KnownAction, *, required: bool) -> dict[str, Json]:
    policy = policy_of(action.policy, per_day=action.limits.per_day)
    return {
        "name": found.name,
        "program": found.program,
        "description": found.description,
        "parameters_schema": found.parameters_schema,
        "effect": found.effect,
        "credential": _secret(action.credential),
        "settings": action.settings,
        "limits": {"per_run": action.limits.per_run},
        "approval": action.approval,
        "required": required,
        **({"policy": policy} if policy else {}),
    }


def _collection(known: KnownCollection, segment: str, files: Mapping[str, bytes]) -> Json:
    return {
        "collection": f"collections/{known.collection}",
        "segment": segment,
        "documents": [
            {"path": path, "sha256": sha256_hex(files[path])} for path in known.documents
        ],
    }


def _secret(name: str) -> str:
    return f"secrets/{name}" if name else ""
