"""Stand-ins for platform and key manager, for tests that play a service or run one alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chassis.server import start_server
from keymanager.__main__ import open_on
from keymanager.config import KeymanagerConfig
from platformd import protocol
from tests.fakes.platform import FakeAttester, FakePlatform


@contextmanager
def platform_for(attester: FakeAttester, path: Path) -> Iterator[None]:
    """Answer like platformd, to whoever connects, that he is of this role."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with protocol.reachable(path) as address:
            listener.bind(address)
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # Somebody who only looks whether platformd is there hangs up at once.
                with connection, suppress(OSError):
                    challenge = {"challenge": bytes(protocol.CHALLENGE_BYTES).hex()}
                    connection.sendall(protocol.encode(challenge))
                    while asked := connection.recv(protocol.PACKET_BYTES_MAX):
                        connection.sendall(_answer(attester, protocol.decode(asked)))

        threading.Thread(target=answer, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def _answer(attester: FakeAttester, asked: protocol.Fields) -> bytes:
    if asked["operation"] == "measure":
        return protocol.encode({"role": attester.role, "problem": ""})
    return attester.quote(bytes.fromhex(str(asked["report_data"])))


@contextmanager
def keymanager_for(config: KeymanagerConfig, platform: FakePlatform) -> Iterator[None]:
    """Run a key manager on a platform, in a loop of its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with open_on(platform, config) as hosted:
            server = await start_server(config, hosted)
            started.set()
            await stop.wait()
            await server.grpc_server.stop(0)

    serving = asyncio.run_coroutine_threadsafe(serve(), loop)
    try:
        assert started.wait(30), "the key manager does not start"
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        serving.result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
