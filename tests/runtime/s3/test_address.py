"""Where a bucket is asked, and with what."""

from __future__ import annotations

from runtime.ports import Authorized, WebRequest
from tests.fakes.internet import Internet, Site, answering
from tests.fakes.runtime_ports import FakeSigner
from tests.fakes.s3 import REGION
from tests.runtime.s3.buckets import Actions, value

HOST = f"s3.{REGION}.amazonaws.com"


async def test_a_bucket_is_where_its_region_says() -> None:
    internet = Internet()
    actions = Actions(internet.egress(), FakeSigner())
    assert (await actions.perform("get", key="a")).reason == "HOST_UNKNOWN"
    assert internet.lookups == [HOST]


class LongSigner(FakeSigner):
    """`Signer` with a session token as long as they get."""

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        return Authorized({"X-Amz-Security-Token": "t" * 4_096})


async def test_a_long_session_token_is_sent() -> None:
    async with Site({"*": answering(b"b")}).listening() as site:
        internet = Internet()
        internet.put(HOST, site)
        actions = Actions(internet.egress(), LongSigner(), endpoint=f"http://{HOST}")
        assert value(await actions.perform("get", key="a"))["text"] == "b"
        assert "t" * 4_096 in site.heads[0]
