"""Objects are stored, read, listed and deleted in an S3 that checks each signature."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator

import pytest

from runtime.connectors.s3schemas import PUT_BYTES_MAX
from runtime.egress.system import open_egress
from tests.fakes.s3 import BUCKET, AwsSigner, Moto, running_moto
from tests.runtime.s3.buckets import Actions, value

ODD = [
    "a b/c+d=e&f?g#h%20i",
    "caf\u00e9/\u96ea \U0001f600",
    "~-_.!*'();:@$,[]",
    '<&>"\\^`{|}',
    "folder/",
    "..a/b..",
]


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with running_moto() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(moto: Moto) -> None:
    for one in moto.admin.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        moto.admin.delete_object(Bucket=BUCKET, Key=one["Key"])


@pytest.fixture
async def actions(moto: Moto) -> AsyncIterator[Actions]:
    signer = AwsSigner(moto.access_key_id, moto.secret_access_key)
    async with open_egress([("127.0.0.1", moto.port)]) as egress:
        yield Actions(egress, signer, endpoint=moto.url)


@pytest.mark.parametrize("key", ODD)
async def test_an_object_of_any_key_goes_its_whole_way(
    actions: Actions, moto: Moto, key: str
) -> None:
    assert value(await actions.perform("put", key=key, text="\u00e9")) == {"key": key, "bytes": 2}
    assert value(await actions.perform("get", key=key)) == {"key": key, "text": "\u00e9"}
    listed = value(await actions.perform("list", prefix=key[:4]))
    assert [(one["key"], one["bytes"]) for one in listed["objects"]] == [(key, 2)]
    url = value(await actions.perform("presign", key=key, seconds=60))["url"]
    assert await asyncio.to_thread(moto.read_presigned, url) == "\u00e9"
    for _ in range(2):
        await actions.perform("delete", key=key)
    assert (await actions.perform("get", key=key)).reason == "NO_SUCH_KEY"


async def test_who_signs_with_another_key_is_denied(moto: Moto, actions: Actions) -> None:
    signer = AwsSigner(moto.access_key_id, "another")
    async with open_egress([("127.0.0.1", moto.port)]) as egress:
        stranger = Actions(egress, signer, endpoint=moto.url)
        for name in ("get", "delete"):
            assert (await stranger.perform(name, key="a")).reason == "ACCESS_DENIED"
        assert (await stranger.perform("put", key="a", text="b")).reason == "ACCESS_DENIED"
    assert value(await actions.perform("list"))["objects"] == []


async def test_an_object_stored_twice_is_there_once(actions: Actions, moto: Moto) -> None:
    for _ in range(2):
        value(await actions.perform("put", key="a", text="b", content_type="text/markdown"))
    assert len(value(await actions.perform("list"))["objects"]) == 1
    assert moto.admin.head_object(Bucket=BUCKET, Key="a")["ContentType"] == "text/markdown"


async def test_bytes_are_stored_and_not_told(actions: Actions, moto: Moto) -> None:
    content = b"\x89PNG\xff"
    value(await actions.perform("put", key="a", base64=base64.b64encode(content).decode()))
    assert moto.admin.get_object(Bucket=BUCKET, Key="a")["Body"].read() == content
    assert (await actions.perform("get", key="a")).reason == "OBJECT_BINARY"


async def test_a_list_goes_on_where_it_ended(actions: Actions) -> None:
    for key in "abcde":
        await actions.perform("put", key=f"x/{key}", text="1")
    found: list[str] = []
    following: dict[str, str] = {}
    for _ in range(3):
        told = value(await actions.perform("list", prefix="x/", count=2, **following))
        found += [one["key"] for one in told["objects"]]
        following = {"next": told["next"]} if "next" in told else {}
    assert (found, following) == ([f"x/{key}" for key in "abcde"], {})


async def test_the_largest_object_is_stored_and_none_larger(actions: Actions) -> None:
    assert value(await actions.perform("put", key="a", text="x" * PUT_BYTES_MAX))
    over = await actions.perform("put", key="a", text="\u00e9" * (PUT_BYTES_MAX // 2 + 1))
    assert over.reason == "TOO_LARGE"


@pytest.mark.parametrize("size", [1_001, 2 * 1024 * 1024])
async def test_an_object_is_read_up_to_the_limit(actions: Actions, moto: Moto, size: int) -> None:
    actions.settings = {**actions.settings, "bytes_max": 1_000}
    moto.admin.put_object(Bucket=BUCKET, Key="a", Body=b"x" * 1_000)
    assert value(await actions.perform("get", key="a"))["text"] == "x" * 1_000
    moto.admin.put_object(Bucket=BUCKET, Key="a", Body=b"x" * size)
    assert (await actions.perform("get", key="a")).reason == "TOO_LARGE"


async def test_a_bucket_that_is_not_there_is_said_so(actions: Actions) -> None:
    actions.settings = {**actions.settings, "bucket": "nobody-has-it"}
    assert (await actions.perform("list")).reason == "NO_SUCH_BUCKET"
