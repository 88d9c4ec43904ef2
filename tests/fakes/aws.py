"""What fakes of AWS have in common: signatures that are checked, frames, and errors in its form."""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterator, Sequence

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chassis.canonical import Json
from tests.fakes.upstream import Reply, Seen

ACCESS_KEY_ID = "AKIDEXAMPLE"
REGION = "eu-west-1"
STREAM_HEADERS = {"content-type": "application/vnd.amazon.eventstream"}


def key_of(secret_access_key: str, **more: str) -> str:
    """Return a key as the key manager releases it."""
    return json.dumps(
        {"access_key_id": ACCESS_KEY_ID, "secret_access_key": secret_access_key, **more}
    )


def check_signature(seen: Seen, service: str, secret_access_key: str) -> None:
    """Raise unless a request was signed for a service, with all that a signature must cover."""
    algorithm, _, rest = seen.headers["authorization"].partition(" ")
    assert algorithm == "AWS4-HMAC-SHA256", algorithm
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    access_key_id, _, region, signed_service, _ = parts["Credential"].split("/")
    assert (access_key_id, region, signed_service) == (ACCESS_KEY_ID, REGION, service)
    names = parts["SignedHeaders"].split(";")
    assert {"host", "x-amz-date"} <= set(names), names
    made = AWSRequest(
        method=seen.method,
        url=f"http://{seen.headers['host']}{seen.path}",
        data=seen.body,
        headers={name: seen.headers[name] for name in names},
    )
    made.context["timestamp"] = seen.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(ACCESS_KEY_ID, secret_access_key), service, region)
    text = signer.string_to_sign(made, signer.canonical_request(made))
    assert signer.signature(text, made) == parts["Signature"], "the signature is another one"


def frame(name: str, payload: bytes, *, kind: str = "event") -> bytes:
    """Return a message of an event stream, with its checksums."""
    pairs = ((":message-type", kind), (f":{kind}-type", name), (":content-type", "a/b"))
    headers = b"".join(_header(key, value) for key, value in pairs)
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    message = prelude + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))


def event(name: str, content: Json) -> bytes:
    """Return an event of JSON."""
    return frame(name, json.dumps(content).encode())


def refusal(status: int, code: str, body: Json) -> Reply:
    """Return an error as AWS writes it."""
    headers = {"content-type": "application/json", "x-amzn-errortype": f"{code}:http://internal/"}
    return Reply((json.dumps(body).encode(),), status, headers)


def shifted(pieces: Sequence[bytes], by: int = 5) -> Iterator[bytes]:
    """Yield the same bytes in as many pieces, whose ends are elsewhere."""
    rest = b""
    for piece in pieces[:-1]:
        rest += piece
        yield rest[:-by]
        rest = rest[-by:]
    yield rest + pieces[-1]


def _header(name: str, value: str) -> bytes:
    encoded = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(encoded)) + encoded
