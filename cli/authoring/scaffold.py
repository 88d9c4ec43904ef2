"""The files that a new action begins with."""

from __future__ import annotations

from collections.abc import Mapping

_ACTION = '''\
"""Reads pages, so that a model need not read all of them."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Annotated

from actionvm_sdk import Context, Field, action


@dataclass
class Excerpt:
    """The beginning of a page."""

    url: str
    text: str
    words_left_out: int


@action(capabilities=["web.get"])
def NAME(
    ctx: Context,
    url: Annotated[str, Field("an address that begins with https://", max_length=2_048)],
    words_max: Annotated[int, Field("how many words are returned", minimum=1, maximum=1_000)] = 50,
) -> Excerpt:
    """Return the first words of a page, without its markup."""
    answer = ctx.http.get(url)
    if not answer.ok:
        raise ValueError(f"{url} answers with status {answer.status}")
    page = _Page()
    page.feed(answer.text)
    words = " ".join(page.parts).split()
    ctx.log("read", len(words), "words")
    return Excerpt(answer.url, " ".join(words[:words_max]), max(0, len(words) - words_max))


class _Page(HTMLParser):
    """Collects what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)
'''

_TEST = """\
# What NAME does, with recorded answers: 'actionvm action test FILE' runs it without network.
cases:
  - name: returns the first words
    action: NAME
    arguments: {url: "https://example.org/", words_max: 2}
    calls:
      - action: web.get
        arguments: {url: "https://example.org/"}
        answer:
          status: 200
          url: https://example.org/
          content_type: text/html
          text: <h1>The ferry</h1><p>leaves at <b>nine</b>.</p>
    result: {url: "https://example.org/", text: The ferry, words_left_out: 4}
    logs: [read 6 words]

  - name: says what status a page answers with
    action: NAME
    arguments: {url: "https://example.org/none"}
    calls:
      - action: web.get
        include: {url: "https://example.org/none"}  # other arguments may be anything
        answer: {status: 404, url: "https://example.org/none", content_type: text/html, text: ""}
    error: {reason: CODE_FAILED, message: status 404}

  - name: reads nothing that was not granted
    action: NAME
    arguments: {url: "https://other.example/"}
    calls:
      - action: web.get
        refusal: {reason: HOST_FORBIDDEN, message: other.example is not among the hosts}
    error: {reason: CODE_FAILED, message: HOST_FORBIDDEN}
"""


def scaffold(name: str) -> Mapping[str, str]:
    """Return the files of a new action, by their names."""
    return {
        f"{name}.py": _ACTION.replace("NAME", name),
        f"{name}.test.yaml": _TEST.replace("NAME", name),
    }
