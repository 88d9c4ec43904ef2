"""S3 of moto, which checks who signed, and a signer that signs as the key manager does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import boto3
import httpx
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

from chassis.clock import SystemClock
from keymanager.secret import Kind
from keymanager.uses.keys import load_key
from keymanager.uses.sigv4 import AwsHeaders, AwsPresign
from runtime.ports import Authorized, WebRequest
from tests.fakes.runtime_ports import FakeSigner

REGION, BUCKET = "us-east-1", "reports"
_ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


class AwsSigner(FakeSigner):
    """`Signer` that has a key of AWS, and the code of the key manager."""

    def __init__(self, access_key_id: str, secret_access_key: str) -> None:
        super().__init__()
        value = {"access_key_id": access_key_id, "secret_access_key": secret_access_key}
        self._aws = load_key(Kind.AWS, json.dumps(value).encode())

    async def authorize_request(
        self, credential: str, request: WebRequest, *, account: str
    ) -> Authorized:
        await super().authorize_request(credential, request, account=account)
        now, method, url = SystemClock().now(), request.method, request.url
        if request.presign_seconds:
            made = AwsPresign(method, url, request.service, request.region, request.presign_seconds)
            return Authorized({}, made.perform(self._aws, now=now, random_bytes=bytes))
        digest, headers = sha256(request.body).digest(), tuple(request.headers.items())
        signs = AwsHeaders(method, url, request.service, request.region, digest, headers)
        return Authorized(signs.perform(self._aws, now=now, random_bytes=bytes).values)


@dataclass(frozen=True)
class Moto:
    """A running S3; `admin` is a client of boto3, and `url` where it is."""

    url: str
    port: int
    admin: Any
    access_key_id: str
    secret_access_key: str

    def read_presigned(self, url: str) -> str:
        """Return an object; its address must be signed, which moto itself cannot check."""
        signed, _, signature = url.rpartition("&X-Amz-Signature=")
        made = AWSRequest("GET", signed, headers={"host": url.split("/")[2]})
        made.context["timestamp"] = signed.partition("X-Amz-Date=")[2].partition("&")[0]
        who = Credentials(self.access_key_id, self.secret_access_key)
        auth = S3SigV4QueryAuth(who, "s3", REGION)
        text = auth.string_to_sign(made, auth.canonical_request(made))
        assert auth.signature(text, made) == signature, "the signature is another one"
        self.check_who_signs(after="inf")
        try:
            return httpx.get(url).text
        finally:
            self.check_who_signs()

    def check_who_signs(self, *, after: str = "0") -> None:
        """Refuse whoever does not sign, once so many requests have come."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=after).raise_for_status()


@contextmanager
def running_moto() -> Iterator[Moto]:
    """Run S3 with one bucket; it refuses whoever does not sign."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        httpx.post(f"{url}/moto-api/reset")
        one_key = {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
        iam = boto3.client("iam", endpoint_url=url, region_name=REGION, **one_key)
        iam.create_user(UserName="agent")
        policy = json.dumps({"Version": "2012-10-17", "Statement": [_ALL]})
        iam.put_user_policy(UserName="agent", PolicyName="all", PolicyDocument=policy)
        made = iam.create_access_key(UserName="agent")["AccessKey"]
        key_id, secret = made["AccessKeyId"], made["SecretAccessKey"]
        admin = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
        )
        admin.create_bucket(Bucket=BUCKET)
        moto = Moto(url, port, admin, key_id, secret)
        moto.check_who_signs()
        yield moto
    finally:
        # The next server of this process has the same state.
        httpx.post(f"{url}/moto-api/reset-auth", content="inf").raise_for_status()
        server.stop()
