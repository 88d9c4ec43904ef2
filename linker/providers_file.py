"""Reads the file in which an operator names providers, and says at once all that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from chassis.draft import Draft, FieldPath
from chassis.problems import Flaw, Problem, clip, shorten, suggest
from chassis.source import read_draft

from .providers.registry import DEFAULTS, find_kind, kind_names
from .settings import ModelSettings, ProviderSettings, RateBudget

BYTES_MAX = 256 * 1024
PROVIDERS_MAX = 100
MODELS_MAX = 1_000
OPTIONS_MAX = 32
URL_CHARACTERS_MAX = 1_024

# Names of this machine, of its network, and of a cluster; plain http to others could be read.
_NEAR = re.compile(r"localhost|[a-z][a-z0-9-]*|.+\.(localhost|local|internal|lan|home\.arpa)")
_URL = re.compile(r"https?://[!-;=?-\[\]^_a-z|~]+")
_SECRET = re.compile(r"(^|_)(api_?key|key|token|secret|password|credentials?|authorization)($|_)")
# The models of this machine; they need no settings here.
_RESERVED = "local"
_KEYS = "keys belong in the key manager: actionvm secrets put NAME"


class ProvidersFileInvalid(ValueError):
    """A file names no providers; `problems` are at most `PROBLEMS_MAX`, in their order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "nothing else is invalid"
        self.problems = shorten(problems)
        lines = (f"{one} ({one.fix})" if one.fix else str(one) for one in self.problems)
        super().__init__("\n".join(lines))


def read_providers(path: Path | None) -> Mapping[str, ProviderSettings]:
    """Return the providers of a file and the built-in ones. Raises `ProvidersFileInvalid`.

    One of the file takes the place of a built-in one of the same name.
    """
    if path is None:
        return DEFAULTS
    draft = Draft(str(path))
    try:
        with path.open("rb") as stream:
            content = stream.read(BYTES_MAX + 1)
    except OSError as error:
        draft.report((), Flaw.INVALID_VALUE, f"cannot be read: {error.strerror}")
        raise ProvidersFileInvalid(draft.problems) from error
    return parse_providers(str(path), content)


def parse_providers(file: str, content: bytes) -> Mapping[str, ProviderSettings]:
    """Return the providers of a text and the built-in ones; `file` is its name for problems."""
    if len(content) > BYTES_MAX:
        draft = Draft(file)
        draft.report((), Flaw.OUT_OF_RANGE, f"is longer than {BYTES_MAX} bytes")
        raise ProvidersFileInvalid(draft.problems)
    draft = read_draft(file, content)
    document = _Document()
    if draft.is_empty:
        draft.report((), Flaw.MISSING_FIELD, "is empty", fix="start it with `providers:`")
    elif draft.is_readable:
        try:
            document = _Document.model_validate(draft.value)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                _report(draft, details)
    if draft.has_errors:
        raise ProvidersFileInvalid(draft.problems)
    return {**DEFAULTS, **{name: _settings(name, one) for name, one in document.providers.items()}}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Rate(_Part):
    requests_per_minute: int = Field(0, ge=0, le=10**9, description="requests, 0 for any number")
    tokens_per_minute: int = Field(0, ge=0, le=10**12, description="tokens, 0 for any number")
    in_flight_max: int = Field(0, ge=0, le=10_000, description="calls at once, 0 for any number")


class _Model(_Part):
    context_tokens: int = Field(0, ge=0, le=10**9, description="tokens, such as 131072")
    takes_images: bool | None = Field(None, description="true or false")
    takes_actions: bool | None = Field(None, description="true or false")
    embedding_dimensions: int = Field(0, ge=0, le=100_000, description="length, such as 1536")


def _is_no_secret(name: str) -> str:
    if _SECRET.search(name):
        raise _problem("would hold a secret, and this file is none", _KEYS)
    return name


def _is_free(name: str) -> str:
    if name == _RESERVED:
        raise _problem("is the name of the models of this machine", "choose another one")
    return name


_Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}\z"), AfterValidator(_is_free)
]
_ModelName = Annotated[str, StringConstraints(pattern=r"^[!-)+-~]{1,126}\z")]
_OptionName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}\z"), AfterValidator(_is_no_secret)
]
_Option = Annotated[str, StringConstraints(max_length=1_024)]


class _Provider(_Part):
    kind: str = Field(description="who speaks to it, such as openai-compatible")
    # Before the URL, whose check asks for both.
    allow_http: bool = Field(default=False, description="true to send keys in the clear")
    url: str = Field("", max_length=URL_CHARACTERS_MAX, validate_default=True)
    options: dict[_OptionName, _Option] = Field(
        default={}, max_length=OPTIONS_MAX, description="texts by name, such as region: eu-west-1"
    )
    models: dict[_ModelName, _Model] = Field(
        default={}, max_length=MODELS_MAX, description="what is known of models, by their names"
    )
    rate: _Rate = Field(default=_Rate(), description="what one key may ask for")
    connect_seconds: float = Field(10.0, gt=0, le=300, description="seconds, such as 10")
    silence_seconds: float = Field(60.0, gt=0, le=3_600, description="seconds, such as 60")

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if find_kind(kind) is None:
            raise _problem(f"there is no kind `{clip(kind)}`", suggest(kind, kind_names()))
        return kind

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str, info: ValidationInfo) -> str:
        kind = find_kind(info.data.get("kind", ""))
        if url:
            _check_url(url, allow_http=info.data.get("allow_http", False))
        elif kind is not None and kind.needs_url:
            example = "write it like https://models.example.com/v1"
            raise _problem(f"{info.data['kind']} needs one", example)
        return url


class _Document(_Part):
    providers: dict[_Name, _Provider] = Field(
        default={}, max_length=PROVIDERS_MAX, description="providers by name, such as farm"
    )


def _check_url(url: str, *, allow_http: bool) -> None:
    # What is wrong is said without the URL, which may hold a key.
    if not _URL.fullmatch(url):
        raise _problem("is no URL", "write it like https://models.example.com/v1")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _problem("has no valid host or port", "write it like http://gpu:8000/v1") from error
    if "@" in parts.netloc:
        raise _problem("holds a user or a password", _KEYS)
    if "?" in url or "#" in url:
        raise _problem("has parameters", f"remove them; {_KEYS}")
    if not host:
        raise _problem("has no host", "write it like https://models.example.com/v1")
    if parts.scheme == "http" and not allow_http and not _is_near(host):
        fix = "write https, or `allow_http: true` if that network is yours"
        raise _problem("would send keys and prompts in the clear", fix)


def _is_near(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return _NEAR.fullmatch(host) is not None
    return address.is_loopback or (address.is_private and not address.is_link_local)


def _problem(message: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message, "fix": fix})


def _report(draft: Draft, details: ErrorDetails) -> None:
    # Pydantic appends this to the path when a key of a mapping is wrong.
    path: FieldPath = tuple(part for part in details["loc"] if part != "[key]")
    place = draft.key_place(path) if "[key]" in details["loc"] else None
    kind, context = details["type"], details.get("ctx", {})
    name = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        fix = _KEYS if _SECRET.search(name) else suggest(name, _fields(path[:-1]))
        place, code = draft.key_place(path), Flaw.UNKNOWN_FIELD
        draft.report(path, code, "there is no such field", fix=fix, place=place)
    elif kind == "missing":
        draft.report(path, Flaw.MISSING_FIELD, "is required", fix=_advice(path))
    else:
        message = context["message"] if kind == "refused" else details["msg"]
        fix = context["fix"] if kind == "refused" else _advice(path)
        draft.report(path, Flaw.INVALID_VALUE, message, fix=fix, place=place)


# What a path of so many parts leads to.
_PARTS: Mapping[int, type[_Part]] = {0: _Document, 2: _Provider, 3: _Rate, 4: _Model}


def _fields(path: FieldPath) -> Mapping[str, FieldInfo]:
    part = _PARTS.get(len(path))
    return part.model_fields if part else {}


def _advice(path: FieldPath) -> str:
    info = _fields(path[:-1]).get(str(path[-1])) if path else None
    return f"write {info.description}" if info and info.description else ""


def _settings(name: str, provider: _Provider) -> ProviderSettings:
    return ProviderSettings(
        name=name,
        kind=provider.kind,
        url=provider.url,
        options=provider.options,
        models={model: ModelSettings(**one.model_dump()) for model, one in provider.models.items()},
        rate=RateBudget(**provider.rate.model_dump()),
        connect_seconds=provider.connect_seconds,
        silence_seconds=provider.silence_seconds,
    )
