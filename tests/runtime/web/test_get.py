"""The action `web.get`: what the model is told, and what it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import JsonValue

from runtime.connectors import Result
from runtime.connectors.web import BYTES_DEFAULT, BYTES_MAX, QUERY_MAX, WebGet, WebSend
from runtime.egress import client as client_module
from runtime.egress.wire import HEADER_BYTES_MAX
from runtime.jsontext import write_json
from runtime.ports import RunFails
from tests.fakes.internet import Internet, Site, answering, redirecting
from tests.runtime.web.webs import HOST, ORDER, Web, played, value


async def test_a_page_is_told_as_it_is(web: Web) -> None:
    result = await web.get(answering(b"<p>\xc3\xbc</p>", kind="text/html; charset=utf-8"))
    assert result == Result(
        {
            "status": 200,
            "url": f"http://{HOST}/a",
            "content_type": "text/html",
            "text": "<p>\u00fc</p>",
            "truncated": False,
        }
    )


@pytest.mark.parametrize("kind", ["application/json", "application/ld+json; charset=utf-8"])
async def test_json_is_told_as_json(web: Web, kind: str) -> None:
    result = await web.get(answering(b'{"a": [1, null]}', kind=kind))
    assert value(result)["json"] == {"a": [1, None]}
    assert "text" not in value(result)


@pytest.mark.parametrize(
    "body", [b"{", b"NaN", b"[" * 10_000, b"1" * 5_000, b'"\\ud800"', b"1e999"]
)
async def test_json_that_is_none_is_told_as_text(web: Web, body: bytes) -> None:
    result = await web.get(answering(body, kind="application/json"))
    assert value(result)["text"] == body.decode()


async def test_null_is_json(web: Web) -> None:
    result = await web.get(answering(b"null", kind="application/json"))
    assert value(result)["json"] is None


@pytest.mark.parametrize("status", ["404 Not Found", "500 Error", "429 Too Many", "304 Same"])
async def test_a_read_is_told_whatever_its_status_is(web: Web, status: str) -> None:
    result = await web.get(answering(b"", status=status))
    assert (value(result)["status"], result.reason) == (int(status[:3]), "")


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"\xfc", "text/plain; charset=iso-8859-1", "\u00fc"),
        (b"\x80", "text/plain; charset=ISO-8859-1", "\u20ac"),
        (b'\x82\xa0"', 'text/plain; charset="Shift_JIS"', '\u3042"'),
        (b"a\xff", "text/plain", "a\ufffd"),
        (b"\xef\xbb\xbfa", "text/plain", "a"),
        (b"a", "", "a"),
        (b"a", "nonsense", "a"),
        # Codecs of Python that are none of texts.
        *(
            (b"x\\x41+AGE-", f"text/plain; charset={name}", "x\\x41+AGE-")
            for name in ("zip", "rot13", "unicode_escape", "utf-7", "idna", "undefined", "mbcs")
        ),
    ],
)
async def test_a_text_is_decoded_as_it_says_or_as_utf_8(
    web: Web, body: bytes, kind: str, text: str
) -> None:
    assert value(await web.get(answering(body, kind=kind)))["text"] == text


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"\x89PNG", "image/png"), (b"a", "application/octet-stream"), (b"a\0b", "text/plain")],
)
async def test_what_is_no_text_is_refused(web: Web, body: bytes, kind: str) -> None:
    assert (await web.get(answering(body, kind=kind))).reason == "ANSWER_BINARY"


@pytest.mark.parametrize("text", ["a" * 999, '"' * 999, "\n" * 999, "\u00fc" * 999, "\x01" * 999])
async def test_what_is_told_has_the_size_that_was_set(web: Web, text: str) -> None:
    result = await web.get(answering(text.encode()), settings={"bytes_max": 500})
    told = value(result)
    assert told["truncated"]
    assert 490 < len(write_json(told["text"]).encode()) <= 500
    assert text.startswith(told["text"])


async def test_a_character_that_was_cut_in_two_is_left_out(web: Web) -> None:
    raw = answering(("a" * 400).encode("utf-16le"), kind="text/plain; charset=utf-16le")
    told = value(await web.get(raw, settings={"bytes_max": 501}))
    assert (told["text"], told["truncated"]) == ("a" * 250, True)


async def test_json_that_was_cut_is_told_as_text(web: Web) -> None:
    raw = answering(b"[1,2,3,4,5,6,7,8,9]", kind="application/json")
    told = value(await web.get(raw, settings={"bytes_max": 10}))
    assert (told["text"], told["truncated"]) == ("[1,2,3,4", True)


async def test_json_that_grows_beyond_its_size_is_told_as_it_was_written(web: Web) -> None:
    body = b"[" + b"1e5," * 99 + b"1e5]"
    raw = answering(body, kind="application/json")
    told = value(await web.get(raw, settings={"bytes_max": 500}))
    assert (told["text"], told["truncated"]) == (body.decode(), False)


async def test_what_a_model_is_told_fits_into_a_message(web: Web) -> None:
    raw = answering(b'"' * 2_000_000)
    result = await web.get(raw, settings={"bytes_max": BYTES_MAX})
    assert len(write_json(result.value).encode()) < 1024 * 1024


async def test_without_a_setting_64_kib_are_told(web: Web) -> None:
    result = await web.get(answering(b"a" * 100_000))
    assert len(value(result)["text"]) == BYTES_DEFAULT - 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"url": "http://evil.org/"}, "HOST_FORBIDDEN"),
        ({"url": "http://0x7f.1/"}, "ADDRESS_FORBIDDEN"),
        ({"url": "http://user@example.org/"}, "URL_INVALID"),
        ({"url": "http://example.org/ a"}, "URL_INVALID"),
        ({"query": {f"q{count}": 1 for count in range(QUERY_MAX + 1)}}, "URL_INVALID"),
        ({"method": "HEAD", "settings": {"methods": ["GET"]}}, "METHOD_FORBIDDEN"),
        ({"url": "http://gone.example.org/", "settings": {"hosts": ["*.example.org"]}}, ""),
    ],
)
async def test_a_refusal_is_told_with_the_way_out(
    web: Web, arguments: dict[str, JsonValue], reason: str
) -> None:
    result = await web.get(b"", **arguments)
    assert result.reason == (reason or "HOST_UNKNOWN")
    assert value(result)["error"] == result.reason
    assert len(value(result)["message"]) > 20
    assert web.site.heads == []


async def test_headers_that_are_too_large_are_refused(web: Web) -> None:
    raw = answering(b"", "x: " + "y" * 2 * HEADER_BYTES_MAX)
    assert (await web.get(raw)).reason == "ANSWER_TOO_LARGE"


async def test_a_redirect_away_is_refused(web: Web) -> None:
    result = await web.get(redirecting("http://169.254.169.254/"))
    assert result.reason == "REDIRECT_FORBIDDEN"


async def test_a_read_without_an_answer_does_not_hold_the_run(web: Web) -> None:
    assert (await web.get(b"")).reason == "ANSWER_LOST"
    web.internet.sites.clear()
    assert (await web.get(b"")).reason == "HOST_UNREACHABLE"


async def test_a_query_is_added(web: Web) -> None:
    await web.get(answering(), query={"q": "a&b", "n": 1.5, "is": True})
    assert web.site.heads[0].startswith("GET /a?q=a%26b&n=1.5&is=true HTTP/1.1")


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {"authorization": "Bearer key"}},
        {"headers": {"cookie": "a=b"}},
        {"headers": {"accept": "a\r\nx-evil: 1"}},
        {"headers": {"accept": "a\n"}},
        {"url": 1},
        {"method": "POST"},
        {"body": "x"},
    ],
)
def test_arguments_beyond_the_schema_are_not_let_through(arguments: dict[str, object]) -> None:
    schema = WebGet(Internet().egress()).descriptor.parameters_schema
    is_newline = arguments == {"headers": {"accept": "a\n"}}
    # Of patterns, `$` lets one line end pass; the egress does not.
    assert (
        Draft202012Validator(schema).is_valid({"url": f"https://{HOST}/a", **arguments})
        == is_newline
    )


async def test_a_line_end_at_the_end_of_a_header_goes_nowhere(web: Web) -> None:
    result = await web.get(answering(), headers={"accept": "a\n"})
    assert result.reason == "HEADER_INVALID"
    assert web.site.heads == []


@pytest.mark.parametrize("hosts", [["*"], ["*.org"], ["127.1"], ["example.org:0"], ["a..b"]])
async def test_hosts_that_are_none_fail_the_run(hosts: list[JsonValue]) -> None:
    order = replace(ORDER, settings={"hosts": hosts})
    egress = Internet().egress()
    for action in (WebGet(egress), WebSend(egress)):
        with pytest.raises(RunFails, match="SETTINGS_INVALID"):
            await action.perform(order)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hosts": []},
        {"hosts": ["a"] * 33},
        {"hosts": ["http://example.org"]},
        {"hosts": ["user@example.org"]},
        {"hosts": ["a"], "methods": []},
        {"hosts": ["a"], "methods": ["POST"]},
        {"hosts": ["a"], "bytes_max": BYTES_MAX + 1},
        {"hosts": ["a"], "bytes_max": 0},
        {"hosts": ["a"], "proxy": "http://b"},
    ],
)
def test_settings_that_make_no_sense_are_not_assembled(settings: dict[str, object]) -> None:
    schema = WebGet(Internet().egress()).descriptor.settings_schema
    assert not Draft202012Validator(schema).is_valid(settings)


async def test_a_slow_host_costs_a_run_no_more_than_one_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SECONDS_MAX", 0.2)

    async def stay(_: object) -> None:
        await site.is_over.wait()

    async with Site(endless=stay).listening() as site:
        _, result = await played(tmp_path, site, "web.get")
        site.is_over.set()
    assert result.reason == "ANSWER_LOST"
    assert len(site.heads) == 1
