"""The hub of Hugging Face, over plain HTTP, which can continue where it was broken off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import SEEK_END
from typing import BinaryIO, Self

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub import logging as hub_logging
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is there

from chassis.errors import InvalidField

from ..errors import HubDenied, HubFileNotFound, HubUnavailable
from ..ports import HubFile, HubSource
from ..progress import Progress, Report

NAME = "actionvm"
SHA256_LENGTH = 64
# The package writes and reports in chunks of 10 MiB, which a slow line takes half a minute for.
CHUNK_BYTES = 1024 * 1024
LOGIN = ".venv/bin/hf auth login, or start ActionVM with HF_TOKEN in its environment"

_DENIED = (401, 403)


class HuggingFaceHub:
    """Finds and fetches files; the token is that of the environment, as for the package itself."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Speak to `endpoint`, or to the one that the package knows (`HF_ENDPOINT`)."""
        # These are read from the environment when the package is imported, or not at all.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
        hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it has no types
        self._endpoint = endpoint or constants.ENDPOINT

    def find(self, source: HubSource) -> HubFile:
        """Return a file; see `Hub`."""
        with self._telling(source):
            metadata = get_hf_file_metadata(
                self._url(source, source.revision or constants.DEFAULT_REVISION),
                token=None,
                library_name=NAME,
                endpoint=self._endpoint,
            )
        if metadata.size is None or metadata.commit_hash is None or metadata.etag is None:
            raise HubUnavailable(f"{self._endpoint} does not speak the protocol of the hub")
        if metadata.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
            problem = f"has {metadata.size / 1e9:.1f} GB, more than the hub sends at once"
            way_out = f".venv/bin/hf download {source.repository} {source.file}"
            raise InvalidField("file", f"{problem}; fetch it with {way_out} and then add it")
        # The tag of a file in Git itself is the hash of another thing, and shorter.
        sha256 = metadata.etag if len(metadata.etag) == SHA256_LENGTH else ""
        return HubFile(self._url(source, metadata.commit_hash), metadata.size, sha256)

    def fetch(self, source: HubSource, file: HubFile, target: BinaryIO, report: Report) -> None:
        """Append what is missing; see `Hub`."""
        received = target.seek(0, SEEK_END)
        report(Progress(received, file.size_bytes))
        while True:
            try:
                with self._telling(source):
                    http_get(
                        file.url,
                        target,
                        resume_size=received,
                        headers=build_hf_headers(token=None, library_name=NAME),
                        expected_size=file.size_bytes,
                        tqdm_class=partial(_Bar, report),  # type: ignore[arg-type]  # no more is needed
                    )
            except HubUnavailable:
                # The package itself tries again where it sees why; here progress is the reason.
                if target.tell() <= received:
                    raise
                received = target.tell()
            else:
                return

    def _url(self, source: HubSource, revision: str) -> str:
        return hf_hub_url(
            source.repository, source.file, revision=revision, endpoint=self._endpoint
        )

    @contextmanager
    def _telling(self, source: HubSource) -> Iterator[None]:
        """Turn what the package raises into our errors; its messages are long and hold URLs."""
        try:
            yield
        except RevisionNotFoundError as error:
            what = f"revision '{source.revision}' of {source.repository}"
            raise HubFileNotFound(what, "see its branches and tags, or leave it out") from error
        except RemoteEntryNotFoundError as error:
            what = f"file {source.file} in {source.repository}"
            way_out = f"see {self._endpoint}/{source.repository}/tree/main"
            raise HubFileNotFound(what, way_out) from error
        except (GatedRepoError, DisabledRepoError) as error:
            page = f"{self._endpoint}/{source.repository}"
            raise HubDenied(
                source.repository, f"accept its licence on {page}, then log in: {LOGIN}"
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            is_anonymous = "authorization" not in error.response.request.headers
            # The hub says the same of what is private and of what does not exist.
            if isinstance(error, RepositoryNotFoundError) or (status in _DENIED and is_anonymous):
                way_out = f"check its name; if it is private, log in: {LOGIN}"
                raise HubFileNotFound(f"repository {source.repository}", way_out) from error
            if status in _DENIED:
                raise HubDenied(source.repository, f"check the token: {LOGIN}") from error
            pause = error.response.headers.get("Retry-After", "")
            hint = f", and asks to wait {pause} seconds" if pause.isdecimal() else ""
            raise HubUnavailable(f"{self._endpoint} answers {status}{hint}") from error
        except OfflineModeIsEnabled as error:
            raise HubUnavailable("HF_HUB_OFFLINE forbids it") from error
        except httpx2.HTTPError as error:
            problem = f"{error}" or type(error).__name__
            raise HubUnavailable(f"{self._endpoint}: {problem}") from error


class _Bar:
    """Reports where the package would draw."""

    def __init__(self, report: Report, *, total: int, initial: int, **_: object) -> None:
        self._report = report
        self._total = total
        self._received = initial

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        """Report some more bytes."""
        self._received += count
        self._report(Progress(self._received, self._total))
