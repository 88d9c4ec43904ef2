"""Names of weights, as callers write them: checked before they become a path or an address."""

from __future__ import annotations

import re
from pathlib import Path

from chassis import fields
from chassis.errors import InvalidField

from .ports import HubSource

# A name is a file name and nothing else: no separator, and no dot at its start.
LOCAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
PATH_BYTES_MAX = 4_096
FILE_BYTES_MAX = 256

_LOCAL_MODEL = re.compile(f"local/{LOCAL_NAME.pattern}")
_REPOSITORY = re.compile(
    r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII
)
_FILE = re.compile(r"[!-~]+( [!-~]+)*")
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]{0,127}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"-0*(\d+)-of-0*(\d+)\.gguf$|\.part(\d+)of(\d+)$")


def parse_local_model(model: str) -> str:
    """Return the name of a model of this machine without its provider."""
    fields.require_match("model", model, _LOCAL_MODEL, example="local/llama-3-8b")
    return model.partition("/")[2]


def parse_path(path: str) -> Path:
    """Return the absolute path of a file."""
    fields.require_size("path", path.encode(), size_max=PATH_BYTES_MAX)
    if not path.startswith("/") or "\0" in path:
        raise InvalidField("path", "is not absolute, such as '/data/llama-3-8b.gguf'")
    return Path(path)


def parse_source(*, repository: str, file: str, revision: str, sha256: str) -> HubSource:
    """Return which file of the hub is meant."""
    fields.require_match("repository", repository, _REPOSITORY, example="owner/name")
    fields.require_size("file", file, size_max=FILE_BYTES_MAX)
    fields.require_match("file", file, _FILE, example="model-Q4_K_M.gguf")
    if {"", ".", ".."} & set(file.split("/")) or "\\" in file:
        raise InvalidField("file", "is no path inside a repository")
    if part := _PART.search(file):
        number, count = filter(None, part.groups())
        problem = f"is part {number} of {count}; docs/models.md says how to join them"
        raise InvalidField("file", problem)
    if not file.endswith(".gguf"):
        raise InvalidField("file", "is no GGUF file: choose one of the repository that ends so")
    if revision:
        fields.require_match("revision", revision, _REVISION, example="main")
    if sha256:
        fields.require_match("sha256", sha256, _SHA256, example="e3b0c442…, 64 digits, lower case")
    return HubSource(repository=repository, file=file, revision=revision, sha256=sha256)
