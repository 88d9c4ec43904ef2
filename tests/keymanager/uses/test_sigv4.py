"""Signatures of AWS are those of its documentation, and of botocore."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidField
from keymanager.secret import Kind
from keymanager.uses.keys import LoadedKey, load_key
from keymanager.uses.sigv4 import AwsHeaders, AwsPresign

from .samples import perform

# The credentials of the documentation; those of S3 have a slash where the others have a plus.
ID = "AKIDEXAMPLE000000"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
FORMAT = "%Y%m%dT%H%M%SZ"
DAY = datetime(2013, 5, 24, tzinfo=UTC)
NO_BODY = hashlib.sha256(b"").digest()
S3 = "https://examplebucket.s3.amazonaws.com"


def key_with(**more: str) -> LoadedKey:
    """Return a key with the secret of the documentation."""
    value = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET, **more}
    return load_key(Kind.AWS, json.dumps(value).encode())


def test_a_read_of_s3_is_signed_as_documented() -> None:
    operation = AwsHeaders(
        "GET", f"{S3}/test.txt", "s3", "us-east-1", NO_BODY, (("range", "bytes=0-9"),)
    )
    headers = perform(operation, key_with(), now=DAY).values
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_a_listing_of_s3_is_signed_as_documented() -> None:
    operation = AwsHeaders("GET", f"{S3}/?max-keys=2&prefix=J", "s3", "us-east-1", NO_BODY)
    headers = perform(operation, key_with(), now=DAY).values
    assert headers["Authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_a_list_of_users_is_signed_as_documented() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    operation = AwsHeaders(
        "GET",
        "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        "iam",
        "us-east-1",
        NO_BODY,
        (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),),
    )
    key = key_with(secret_access_key=secret)
    now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    headers = perform(operation, key, now=now).values
    assert headers["Authorization"].endswith(
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )
    assert operation.facts() == {
        "method": "GET",
        "host": "iam.amazonaws.com",
        "path": "/",
        "service": "iam",
        "region": "us-east-1",
        "action": "ListUsers",
        "x_amz_target": "",
    }


def test_a_url_of_s3_is_signed_as_documented() -> None:
    operation = AwsPresign("GET", f"{S3}/test.txt", "s3", "us-east-1", 86_400)
    assert perform(operation, key_with(), now=DAY).endswith(
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


TEXT = st.text(min_size=1, max_size=8)
SEGMENT = TEXT.map(lambda text: quote(text, safe="")).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(SEGMENT, max_size=3).map(lambda parts: "/" + "/".join(parts))
QUERIES = st.lists(st.tuples(TEXT, st.text(max_size=8)), max_size=3, unique_by=lambda pair: pair[0])
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-amz-target", "x-amz-meta-a", "range"]),
    st.text(alphabet="ab1 /;=", min_size=1, max_size=12).map(str.strip),
)
SESSIONS = st.sampled_from(["", "session/token=="])


def _url(path: str, query: list[tuple[str, str]]) -> str:
    url = f"https://service.eu-west-1.amazonaws.com{path}"
    # One order, and one spelling, in which both read them.
    return url + ("?" + urlencode(sorted(query), quote_via=quote, safe="") if query else "")


@given(
    service=st.sampled_from(["s3", "dynamodb", "bedrock"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=st.binary(max_size=20),
    session=SESSIONS,
)
def test_botocore_signs_requests_alike(
    *,
    service: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
    session: str,
) -> None:
    url = _url(path, query)
    request = AWSRequest(method="POST", url=url, headers=headers, data=body)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(ID, SECRET, session or None), service, "eu-west-1").add_auth(request)
    now = datetime.strptime(request.headers["X-Amz-Date"], FORMAT).replace(tzinfo=UTC)
    digest = hashlib.sha256(body).digest()
    ours = AwsHeaders("POST", url, service, "eu-west-1", digest, tuple(headers.items()))
    key = key_with(access_key_id=ID, **({"session_token": session} if session else {}))
    made = perform(ours, key, now=now).values
    assert {name: request.headers[name] for name in made} == made


@given(service=st.sampled_from(["s3", "polly"]), path=PATHS, query=QUERIES, session=SESSIONS)
def test_botocore_signs_urls_alike(
    service: str, path: str, query: list[tuple[str, str]], session: str
) -> None:
    url = _url(path, query)
    request = AWSRequest(method="GET", url=url)
    signer = S3SigV4QueryAuth if service == "s3" else SigV4QueryAuth
    credentials = Credentials(ID, SECRET, session or None)
    signer(credentials, service, "eu-west-1", expires=60).add_auth(request)
    theirs = parse_qs(urlsplit(request.url).query)
    now = datetime.strptime(theirs["X-Amz-Date"][0], FORMAT).replace(tzinfo=UTC)
    key = key_with(access_key_id=ID, **({"session_token": session} if session else {}))
    ours = perform(AwsPresign("GET", url, service, "eu-west-1", 60), key, now=now)
    assert parse_qs(urlsplit(ours).query) == theirs


def headers_with(
    *,
    url: str = S3,
    service: str = "s3",
    region: str = "us-east-1",
    body: bytes = NO_BODY,
    headers: tuple[tuple[str, str], ...] = (),
) -> AwsHeaders:
    """Return an operation with some of it changed."""
    return AwsHeaders("GET", url, service, region, body, headers)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": f"{S3}/?X-Amz-Date=1"}, "url"),
        ({"url": f"{S3}/?x-amz-signature=1"}, "url"),
        ({"url": f"{S3}/?Action=ListUsers&action=DeleteUser"}, "url"),
        ({"service": ""}, "service"),
        ({"service": "S3"}, "service"),
        ({"service": "s3/aws4_request"}, "service"),
        ({"region": "us east"}, "region"),
        ({"region": "us-east-1\n"}, "region"),
        ({"body": b""}, "body_sha256"),
        ({"body": bytes(33)}, "body_sha256"),
        ({"headers": (("Range", "a"),)}, "headers[0].name"),
        ({"headers": (("host", "evil.example"),)}, "headers[0].name"),
        ({"headers": (("a", "1"), ("a", "2"))}, "headers[1].name"),
        ({"headers": (("x-amz-date", "1"),)}, "headers[0].name"),
        ({"headers": (("a b", "1"),)}, "headers[0].name"),
        ({"headers": (("a", "1\nx-amz-acl:public-read"),)}, "headers[0].value"),
        ({"headers": (("a", "\u00e9"),)}, "headers[0].value"),
        ({"headers": (("a", "b" * 4_097),)}, "headers[0].value"),
        ({"headers": tuple((f"a{n}", "") for n in range(65))}, "headers"),
    ],
)
def test_a_request_that_could_be_read_differently_is_refused(
    changed: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidField) as refusal:
        headers_with(**changed)  # type: ignore[arg-type]  # the test is about the values
    assert refusal.value.field == field


@pytest.mark.parametrize("seconds", [-1, 0, 604_801])
def test_a_url_lives_for_a_week_at_most(seconds: int) -> None:
    with pytest.raises(InvalidField, match="expire_seconds"):
        AwsPresign("GET", S3, "s3", "us-east-1", seconds)


def test_a_request_without_a_region_is_signed_for_that_of_the_key() -> None:
    key = key_with(region="eu-west-1")
    named, unnamed = headers_with(region="eu-west-1"), headers_with(region="")
    assert perform(unnamed, key) == perform(named, key)
    assert "region" not in unnamed.facts()
    with pytest.raises(InvalidField, match="region"):
        perform(unnamed, key_with())


def test_a_key_with_a_region_works_there_only() -> None:
    with pytest.raises(InvalidField, match="region"):
        perform(headers_with(region="eu-west-1"), key_with(region="us-east-1"))
    assert perform(headers_with(region="eu-west-1"), key_with(region="eu-west-1")).values
