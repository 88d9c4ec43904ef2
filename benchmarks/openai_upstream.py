"""A server that speaks like OpenAI's and answers at once: `python benchmarks/openai_upstream.py`.

It prints its port, and serves until it is stopped. Only what it must know of HTTP is here, so that
it costs little beside what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

WORDS = 2
MODELS = json.dumps(
    {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 32_768}]}
).encode()


def _chunk(**more: object) -> bytes:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**head, **more}).encode() + b"\n\n"


def _choice(delta: dict[str, str], reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


ANSWER = b"".join(
    (
        *(_chunk(choices=_choice({"role": "assistant", "content": "word "})) for _ in range(WORDS)),
        _chunk(choices=_choice({}, "stop")),
        _chunk(
            choices=[],
            usage={"prompt_tokens": 40, "completion_tokens": WORDS, "total_tokens": 40 + WORDS},
        ),
        b"data: [DONE]\n\n",
    )
)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            kind, body = b"text/event-stream", ANSWER
            if head.startswith(b"get"):
                kind, body = b"application/json", MODELS
            size = str(len(body)).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %b\r\n\r\n%b"
                % (kind, size, body)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main())
