"""What services of AWS have in common: keys, addresses, signatures, and the frames of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field

import httpx2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import CredentialRefused, ModelUnusable
from ..settings import ProviderSettings
from .wire import Failure, FailureTold, retry_after_seconds

ERROR_BYTES_MAX = 64 * 1024

_THROTTLED = ("ServiceQuotaExceededException", "ThrottlingException", "throttlingException")
_MODEL_FAILED = ("ModelErrorException", "modelStreamErrorException")
_INVALID = ("ValidationException", "ValidationError")
_NO_SUCH = re.compile(r"not found|model identifier is invalid", re.IGNORECASE)
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_FORM = '{"access_key_id": "…", "secret_access_key": "…"}, with session_token and region if need be'


class AwsKey(BaseModel):
    """A key as the key manager releases it, of which the JSON has the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    access_key_id: str = Field(repr=False, pattern=r"^[!-~]{1,128}\z")
    secret_access_key: str = Field(repr=False, pattern=r"^[!-~]{1,128}\z")
    session_token: str = Field(default="", repr=False, pattern=r"^[!-~]{0,8192}\z")
    region: str = Field(default="", pattern=rf"^({_REGION.pattern})?\z")


def parse_key(model: str, text: str) -> AwsKey:
    """Return a key; `model` is who wants it. Raises `CredentialRefused`."""
    try:
        return AwsKey.model_validate_json(text)
    except ValidationError:
        # What is wrong with it would be said in its own words.
        raise CredentialRefused(model, f"it is not JSON of the form {_FORM}") from None


def secret_part(text: str) -> str:
    """Return what must show nowhere of a key, of AWS or of another form."""
    try:
        return AwsKey.model_validate_json(text).secret_access_key
    except ValidationError:
        return text


@dataclass(frozen=True)
class AwsService:
    """A service; `host` is the first part of its public address, `signing` its name to sign."""

    host: str
    signing: str
    settings: ProviderSettings

    def region(self, model: str, key_region: str = "") -> str:
        """Return the region of a key, or of the settings. Raises `ModelUnusable`."""
        region = key_region or self.settings.options.get("region", "")
        if not _REGION.fullmatch(region):
            way_out = "write options: {region: eu-west-1} into the file of providers"
            raise ModelUnusable(model, f"nobody says in which region of AWS it is; {way_out}")
        return region

    def url(self, region: str) -> str:
        """Return where the service is, without a slash at the end."""
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return self.settings.url.rstrip("/") or f"https://{self.host}.{region}.{suffix}"

    def signed(
        self, key: AwsKey, region: str, url: str, headers: dict[str, str], body: bytes
    ) -> dict[str, str]:
        """Return the headers of a `POST` with those that authenticate it, for some minutes."""
        request = AWSRequest(method="POST", url=url, headers=headers, data=body)
        credentials = ReadOnlyCredentials(
            key.access_key_id, key.secret_access_key, key.session_token or None
        )
        SigV4Auth(credentials, self.signing, region).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}


@dataclass(frozen=True)
class Frame:
    """A message of a stream: an event, or with `is_error` what ended it."""

    name: str
    payload: bytes = field(repr=False)
    is_error: bool = False


class Broken(Exception):
    """A stream is damaged, or is no stream of frames."""


async def frames_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Frame, None]:
    """Yield the whole frames of a stream, however it was cut. Raises `Broken`."""
    buffer = EventStreamBuffer()
    try:
        async for chunk in chunks:
            buffer.add_data(chunk)
            for message in buffer:
                yield _frame(message)
    except ParserError as error:
        raise Broken(f"a frame is damaged: {type(error).__name__}") from error


def _frame(message: EventStreamMessage) -> Frame:
    headers = message.headers
    if headers.get(":message-type") == "event":
        return Frame(str(headers.get(":event-type", "")), message.payload)
    name = headers.get(":exception-type") or headers.get(":error-code") or "error"
    payload = message.payload or str(headers.get(":error-message", "")).encode()
    return Frame(str(name), payload, is_error=True)


async def check(response: httpx2.Response) -> None:
    """Raise `FailureTold` unless an answer is a success."""
    if response.status_code == httpx2.codes.OK:
        return
    said = await anext(response.aiter_bytes(ERROR_BYTES_MAX), b"")
    raise FailureTold(failure_of_answer(response.status_code, response.headers, said))


def failure_of(error: Exception) -> Failure | None:
    """Return what an error on the way to AWS means."""
    if isinstance(error, httpx2.TimeoutException):
        return Failure("it fell silent")
    if isinstance(error, httpx2.HTTPError):
        return Failure("the connection broke")
    return Failure(f"the stream broke: {error}") if isinstance(error, Broken) else None


def failure_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an answer means that is no success.

    AWS answers 400 to much that other providers have numbers for.
    """
    said = _object(body)
    code = str(headers.get("x-amzn-errortype") or said.get("__type") or "")
    code = code.partition(":")[0].rpartition("#")[2]
    text = str(said.get("message") or said.get("Message") or code)
    if code in _THROTTLED:
        status = 429
    elif code in _MODEL_FAILED:
        status = 0
    elif code in _INVALID and _NO_SUCH.search(text):
        status = 404
    return Failure(text, status, code, retry_after_seconds(headers))


def _object(body: bytes) -> Mapping[str, object]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
