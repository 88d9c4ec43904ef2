"""Bundles: what is checked before a program is trusted, and before it is executed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jsonschema import Draft202012Validator, SchemaError
from pydantic import TypeAdapter, ValidationError
from referencing import Registry

from chassis.canonical import sha256_hex
from chassis.fields import BUNDLE_NAME

from .connectors import Connector
from .errors import BundleInvalid
from .facts import Signature
from .program import CODE_BYTES_MAX, REQUEST_SCHEMA, Program, ProgramAction
from .workflow import problem_of

BUNDLE_KEY = "keys/bundles"
PAYLOAD_BYTES_MAX = 1024 * 1024

_SIGNED_PREFIX = b"actionvm/bundle/v1\n"


@dataclass(frozen=True)
class SealedBundle:
    """A bundle as it came; nothing in it is trusted yet."""

    name: str
    sha256: str
    size_bytes: int
    payload: bytes
    signature: Signature


def open_bundle(sealed: SealedBundle, public_key: bytes) -> Program:
    """Check that the owner of `public_key` signed exactly this, and read it.

    The key that the bundle carries proves nothing: whoever forges a bundle signs it with theirs.
    Raise `BundleInvalid` with the first thing that does not fit.
    """
    sha256 = sha256_hex(sealed.payload)
    signature = sealed.signature
    checks = {
        f"payload is over {PAYLOAD_BYTES_MAX} bytes": len(sealed.payload) <= PAYLOAD_BYTES_MAX,
        "digest does not fit payload": sealed.sha256 == sha256,
        "digest.size_bytes does not fit payload": sealed.size_bytes == len(sealed.payload),
        "name does not fit digest": sealed.name == f"bundles/{sha256}",
        f"signature.key is not {BUNDLE_KEY}": signature.key == BUNDLE_KEY,
        "signature.algorithm is not ed25519": signature.algorithm == "ed25519",
        "signature.public_key is not that of the key manager": signature.public_key == public_key,
        "signature does not fit digest": _is_signed(sha256, signature.value, public_key),
    }
    for problem, fits in checks.items():
        if not fits:
            raise BundleInvalid(problem)
    return read_program(sealed.payload)


def read_program(payload: bytes) -> Program:
    """Read a payload whose signature was checked, or raise `BundleInvalid`."""
    try:
        program = _PROGRAM.validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "payload"
        raise BundleInvalid(f"{path}: {first['msg']}") from error
    names = [action.name for action in program.actions]
    if len(names) != len(set(names)):
        raise BundleInvalid("two actions have one name")
    for action in program.actions:
        if action.required and action.approval == "deny":
            raise BundleInvalid(f"action {action.name} is required and denied")
        _require_rules(action)
        _require_code(action)
    if program.workflow:
        told = problem_of(
            program.workflow, actions=frozenset(names), generations_max=program.limits.steps
        )
        if told:
            raise BundleInvalid(f"workflow: {told}")
    return program


def require_connectors(program: Program, connectors: Mapping[str, Connector]) -> None:
    """Refuse a program whose actions this runtime cannot perform as it describes them.

    Other agents are looked at when they are called: each has a bundle and a signature of its own.
    """
    granted = (grant for action in program.actions if action.code for grant in action.code.grants)
    for action in (*program.actions, *granted):
        if action.code:
            _require_schema(action)
            continue
        if action.agent_bundle:
            _require_request(action)
            continue
        connector = connectors.get(action.catalogue_name)
        if connector is None:
            raise BundleInvalid(f"action {action.name}: no {action.program} in this runtime")
        descriptor = connector.descriptor
        if action.effect != descriptor.effect:
            raise BundleInvalid(f"action {action.name}: its effect is {descriptor.effect}")
        if descriptor.needs_credential and not action.credential:
            raise BundleInvalid(f"action {action.name}: it needs a credential")
        _require_schema(action)
        settings = Draft202012Validator(descriptor.settings_schema, registry=Registry())
        problem = next(settings.iter_errors(action.settings), None)
        if problem is not None:
            raise BundleInvalid(f"action {action.name}: settings: {problem.message[:200]}")


def _require_request(action: ProgramAction) -> None:
    """Refuse a call of an agent that takes anything but a text."""
    if not BUNDLE_NAME.fullmatch(action.agent_bundle):
        raise BundleInvalid(f"action {action.name}: {action.program[:100]} is not a bundle")
    if action.parameters_schema != REQUEST_SCHEMA:
        raise BundleInvalid(f"action {action.name}: parameters_schema is not that of an agent")
    if action.credential or action.settings:
        raise BundleInvalid(f"action {action.name}: an agent takes no credential and no settings")


def _require_code(action: ProgramAction) -> None:
    """Refuse code that is not what its digest says, or whose grants hold code or clash."""
    code = action.code
    if code is None:
        return
    names = [grant.name for grant in code.grants]
    size = sum(len(text.encode()) for text in code.files.values())
    checks = {
        "its program is not its code": action.program == f"code:{code.executable.sha256}",
        f"its files are over {CODE_BYTES_MAX} bytes": size <= CODE_BYTES_MAX,
        "it has files and a component, or neither": bool(code.files) != bool(code.wasm),
        "its main file is missing": bool(code.wasm) or code.main in code.files,
        "two grants have one name": len(names) == len(set(names)),
        "a grant holds code": all(grant.code is None for grant in code.grants),
        "it takes no credential and no settings": not action.credential and not action.settings,
    }
    for problem, fits in checks.items():
        if not fits:
            raise BundleInvalid(f"action {action.name}: {problem}")
    for grant in code.grants:
        _require_rules(grant)


def _require_rules(action: ProgramAction) -> None:
    """Refuse rules that say nothing, or that could not be told apart when they count."""
    rules = action.policy
    if len(rules) != len({rule.name for rule in rules}):
        raise BundleInvalid(f"action {action.name}: two rules have one name")
    for rule in rules:
        if problem := rule.problem():
            raise BundleInvalid(f"action {action.name}: rule {rule.name}: {problem}")


def _require_schema(action: ProgramAction) -> None:
    try:
        # The formats include that of regular expressions, which would otherwise fail in a run.
        Draft202012Validator.check_schema(
            action.parameters_schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
    except SchemaError as error:
        problem = f"action {action.name}: parameters_schema: {error.message[:200]}"
        raise BundleInvalid(problem) from error


def _is_signed(sha256: str, value: bytes, public_key: bytes) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(value, _SIGNED_PREFIX + sha256.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


_PROGRAM = TypeAdapter(Program)
