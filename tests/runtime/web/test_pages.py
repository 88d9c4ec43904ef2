"""The actions `web.page` and `web.feed`: words without markup, entries of feeds, from anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.connectors.webpages import ENTRIES_DEFAULT, FEED_BYTES_MAX, PAGE_BYTES_MAX
from tests.fakes.internet import answering
from tests.runtime.web.webs import HOST, Web, value

PAGE = """<!doctype html><html><head><title>Ether &amp; co</title>
<meta name="author" content="Ada Byron">
<meta property="article:published_time" content="2026-11-03T10:00:00Z"></head>
<body><nav><a href="/">home of all the menus</a></nav>
<main><article><h1>The day</h1>
<p>Ether gained 3 percent, says a <a href="/report?id=1">report</a> that came out today.</p>
<p>Nobody knows why, and some of those who were asked would not even say that they do not.</p>
<p>Others said that it had been about time, and that they had seen it coming for two weeks.</p>
<ul><li>It was loud.</li><li>It is quiet now.</li></ul>
<script>alert("script")</script></article></main>
<footer>imprint and cookies</footer></body></html>"""

RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>News of the day</title>
<item><guid>urn:2</guid><title>Ether &amp; co</title><link>https://example.org/2</link>
<pubDate>Tue, 03 Nov 2026 12:00:00 +0200</pubDate>
<description>&lt;p&gt;It &lt;b&gt;rose&lt;/b&gt;.&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;
</description>
</item>
<item><title>Older</title><link>/1</link></item></channel></rss>"""

ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Atoms</title>
<entry><id>urn:1</id><title type="html">&lt;i&gt;One&lt;/i&gt;</title>
<link href="https://a.test/1"/>
<updated>2026-11-03T10:00:00Z</updated><summary>Plain &amp;amp; short</summary></entry></feed>"""


def html(text: str) -> bytes:
    return answering(text.encode(), kind="text/html; charset=utf-8")


def rss(text: str, *, doctype: str = "") -> bytes:
    body = f"{doctype}<rss version='2.0'><channel>{text}</channel></rss>"
    return answering(body.encode(), kind="application/rss+xml")


async def test_a_page_is_told_without_menus_and_markup(web: Web) -> None:
    told = value(await web.page(html(PAGE)))
    assert told["title"] == "The day"
    assert told["author"] == "Ada Byron"
    assert told["date"] == "2026-11-03"
    assert told["url"] == f"http://{HOST}/a"
    assert not told["truncated"]
    assert "Ether gained 3 percent, says a report that came out today." in told["text"]
    assert "It was loud." in told["text"]
    for other in ("menus", "cookies", "alert", "<"):
        assert other not in told["text"]


async def test_links_are_told_if_they_are_asked_for(web: Web) -> None:
    told = value(await web.page(html(PAGE), links=True))
    assert f"[report](http://{HOST}/report?id=1)" in told["text"]


async def test_a_page_without_an_article_is_told_as_a_whole(web: Web) -> None:
    told = value(await web.page(html("<html><body><p>Closed.</p></body></html>")))
    assert (told["text"], told["title"], told["date"]) == ("Closed.", "", "")


async def test_a_long_page_is_cut(web: Web) -> None:
    words = " ".join(f"word{number}" for number in range(2_000))
    told = value(await web.page(html(f"<p>{words}</p>"), settings={"bytes_max": 100}))
    assert told["truncated"]
    assert words.startswith(told["text"])
    assert 80 < len(told["text"]) <= 98


async def test_a_huge_page_is_read_as_far_as_it_is_fetched(web: Web) -> None:
    page = f"<p>{'a few words ' * 10}</p><!--{'x' * PAGE_BYTES_MAX}--><p>the end of it</p>"
    told = value(await web.page(html(page)))
    assert told["truncated"]
    assert "a few words" in told["text"]
    assert "the end" not in told["text"]


async def test_more_is_fetched_than_is_told(web: Web) -> None:
    page = f"<html><body><!--{'x' * 100_000}--><p>Closed.</p></body></html>"
    told = value(await web.page(html(page), settings={"bytes_max": 1_000}))
    assert (told["text"], told["truncated"]) == ("Closed.", False)


@pytest.mark.parametrize("kind", ["application/json", "application/pdf", "text/plain"])
async def test_what_is_no_page_is_for_web_get(web: Web, kind: str) -> None:
    assert (await web.page(answering(b"{}", kind=kind))).reason == "ANSWER_NO_PAGE"


async def test_a_page_is_told_whatever_its_status_is(web: Web) -> None:
    raw = answering(b"<p>There is no such page.</p>", kind="text/html", status="404 Not Found")
    told = value(await web.page(raw))
    assert (told["status"], told["text"]) == (404, "There is no such page.")


async def test_what_comes_instead_of_a_feed_says_its_status(web: Web) -> None:
    result = await web.feed(answering(b"<p>Gone.</p>", kind="text/html", status="410 Gone"))
    assert result.reason == "ANSWER_NO_FEED"
    assert "410" in value(result)["message"]


async def test_entries_of_rss_are_told_in_their_order(web: Web) -> None:
    told = value(await web.feed(answering(RSS.encode(), kind="application/rss+xml")))
    assert told["title"] == "News of the day"
    assert told["entries"][0] == {
        "id": "urn:2",
        "title": "Ether & co",
        "link": "https://example.org/2",
        "time": "2026-11-03T10:00:00+00:00",
        "summary": "It rose.",
    }
    assert told["entries"][1]["time"] == ""
    assert told["entries"][1]["id"] == told["entries"][1]["link"] == f"http://{HOST}/1"


async def test_entries_of_atom_are_told(web: Web) -> None:
    told = value(await web.feed(answering(ATOM.encode(), kind="application/atom+xml")))
    assert told["entries"] == [
        {
            "id": "urn:1",
            "title": "One",
            "link": "https://a.test/1",
            "time": "2026-11-03T10:00:00+00:00",
            "summary": "Plain & short",
        }
    ]


def items(count: int) -> str:
    return "".join(f"<item><guid>urn:{n}</guid><title>n {n}</title></item>" for n in range(count))


async def test_so_many_entries_are_told(web: Web) -> None:
    assert len(value(await web.feed(rss(items(30))))["entries"]) == ENTRIES_DEFAULT
    told = value(await web.feed(rss(items(30)), count=3))
    assert [entry["id"] for entry in told["entries"]] == ["urn:0", "urn:1", "urn:2"]
    assert not told["truncated"]
    told = value(await web.feed(rss(items(30)), count=30, settings={"bytes_max": 300}))
    assert told["truncated"]
    assert 0 < len(told["entries"]) < 30


async def test_a_feed_that_is_too_long_is_cut(web: Web) -> None:
    item = f"<item><title>{'x' * 1_000}</title></item>"
    told = value(await web.feed(rss(item * (FEED_BYTES_MAX // 1_000)), count=2))
    assert told["truncated"]
    assert len(told["entries"]) == 2


@pytest.mark.parametrize("body", [b"", b"{}", b"<html><p>no</p></html>", b"\0" * 100])
async def test_what_is_no_feed_is_refused(web: Web, body: bytes) -> None:
    assert (await web.feed(answering(body))).reason == "ANSWER_NO_FEED"


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_a_body_is_never_the_name_of_a_file(web: Web, tmp_path: Path, form: str) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(RSS)
    assert (await web.feed(answering(form.format(path).encode()))).reason == "ANSWER_NO_FEED"


async def test_entities_bring_in_no_files(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("canary-of-a-file")
    doctype = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{path}">]>'
    result = await web.feed(rss("<title>a &x; b</title>", doctype=doctype))
    assert "canary" not in str(result)
    assert str(path) not in str(result)


async def test_entities_make_nothing_large(web: Web) -> None:
    bomb = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 20}">' for n in range(1, 12))
    doctype = f'<!DOCTYPE rss [<!ENTITY b0 "ha">{bomb}]>'
    result = await web.feed(rss("<title>&b11;</title>" + items(2), doctype=doctype))
    assert len(str(result)) < 2_000


@given(st.binary(max_size=400), st.sampled_from(["text/html", "application/rss+xml", ""]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
async def test_whatever_comes_is_told_or_refused(web: Web, body: bytes, kind: str) -> None:
    for result in (
        await web.page(answering(b"<html><body>" + body, kind=kind)),
        await web.feed(answering(b"<rss version='2.0'><channel>" + body, kind=kind)),
    ):
        assert result.reason in {"", "ANSWER_NO_PAGE", "ANSWER_NO_FEED"}
