"""The real package against a hub of this machine: errors in our words, nothing fetched twice."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import pytest

from chassis.errors import InvalidField, ServiceError
from linker.errors import HubDenied, HubFileNotFound, HubUnavailable
from linker.ports import HubSource
from linker.progress import Progress
from linker.providers.hub import CHUNK_BYTES, HuggingFaceHub
from tests.fakes.hub import COMMIT, FakeHub, Fault, serve_hub

REPOSITORY = "owner/tiny-GGUF"
FILE = "folder/tiny-Q8_0.gguf"
SOURCE = HubSource(REPOSITORY, FILE)
CONTENT = bytes(range(256)) * (4 * CHUNK_BYTES // 256) + b"end"


@pytest.fixture
def fake(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakeHub]:
    """Serve a hub with one file; nobody is logged in."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path_factory.mktemp("hf") / "token")
    )
    with serve_hub(FakeHub({(REPOSITORY, FILE): CONTENT})) as hub:
        yield hub


def fetch(fake: FakeHub, target: io.BytesIO, source: HubSource = SOURCE) -> list[Progress]:
    """Find a file and fetch what is missing of it; return what was reported."""
    hub = HuggingFaceHub(fake.endpoint)
    reported: list[Progress] = []
    hub.fetch(source, hub.find(source), target, reported.append)
    return reported


def test_a_file_is_found_with_its_size_its_hash_and_its_commit(fake: FakeHub) -> None:
    found = HuggingFaceHub(fake.endpoint).find(SOURCE)

    assert found.size_bytes == len(CONTENT)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert COMMIT in found.url


def test_a_file_that_git_itself_keeps_has_no_sha256(fake: FakeHub) -> None:
    fake.in_git.add(FILE)

    assert HuggingFaceHub(fake.endpoint).find(SOURCE).sha256 == ""


def test_a_file_arrives_whole_and_is_reported_as_it_comes(fake: FakeHub) -> None:
    target = io.BytesIO()

    reported = fetch(fake, target)

    assert target.getvalue() == CONTENT
    received = [progress.received_bytes for progress in reported]
    assert received == sorted(received)
    assert len(received) > 3
    assert reported[-1] == Progress(len(CONTENT), len(CONTENT))


def test_what_is_here_is_not_fetched_again(fake: FakeHub) -> None:
    target = io.BytesIO(CONTENT[:1_000])

    fetch(fake, target)

    assert target.getvalue() == CONTENT
    assert fake.ranges() == ["bytes=1000-"]


def test_a_whole_file_is_not_fetched_at_all(fake: FakeHub) -> None:
    fetch(fake, io.BytesIO(CONTENT))

    assert fake.cdn_asked == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(fake: FakeHub) -> None:
    fake.cdn_faults.append(Fault(break_after=2 * CHUNK_BYTES + 7))
    target = io.BytesIO()

    fetch(fake, target)

    assert target.getvalue() == CONTENT
    assert fake.ranges() == ["", f"bytes={2 * CHUNK_BYTES}-"]


def test_an_error_half_way_does_not_end_what_makes_progress(fake: FakeHub) -> None:
    fake.cdn_faults += [Fault(break_after=2 * CHUNK_BYTES), Fault(status=503), Fault()]
    target = io.BytesIO()

    fetch(fake, target)

    assert target.getvalue() == CONTENT


def test_an_error_without_progress_is_told_and_keeps_what_is_here(fake: FakeHub) -> None:
    fake.cdn_faults.append(Fault(status=503))
    target = io.BytesIO(CONTENT[:1_000])

    with pytest.raises(HubUnavailable, match="503"):
        fetch(fake, target)
    assert target.getvalue() == CONTENT[:1_000]


def test_a_busy_cdn_is_asked_again_after_the_pause_that_it_names(fake: FakeHub) -> None:
    fake.cdn_faults.append(Fault(status=429, headers={"Retry-After": "0"}))
    target = io.BytesIO()

    fetch(fake, target)

    assert target.getvalue() == CONTENT


def test_a_report_that_raises_ends_the_fetch_and_keeps_what_came(fake: FakeHub) -> None:
    class Enough(BaseException):
        """Somebody pressed Ctrl-C."""

    def report(progress: Progress) -> None:
        if progress.received_bytes > CHUNK_BYTES:
            raise Enough

    hub, target = HuggingFaceHub(fake.endpoint), io.BytesIO()
    with pytest.raises(Enough):
        hub.fetch(SOURCE, hub.find(SOURCE), target, report)

    assert target.getvalue() == CONTENT[:CHUNK_BYTES]


@pytest.mark.parametrize(
    ("source", "error", "way_out"),
    [
        (HubSource("owner/none", FILE), HubFileNotFound, "check its name"),
        (HubSource(REPOSITORY, "none.gguf"), HubFileNotFound, "/owner/tiny-GGUF/tree/main"),
        (HubSource(REPOSITORY, FILE, "v9"), HubFileNotFound, "branches and tags"),
    ],
    ids=["repository", "file", "revision"],
)
def test_what_is_not_there_is_named_with_a_way_out(
    fake: FakeHub, source: HubSource, error: type[ServiceError], way_out: str
) -> None:
    with pytest.raises(error, match=way_out):
        HuggingFaceHub(fake.endpoint).find(source)


def test_a_gated_repository_names_the_page_of_its_licence(fake: FakeHub) -> None:
    fake.gated.add(REPOSITORY)

    with pytest.raises(HubDenied, match=f"accept its licence on {fake.endpoint}/{REPOSITORY}"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)


def test_a_gated_repository_needs_the_licence_although_the_token_is_good(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", fake.token)
    fake.gated.add(REPOSITORY)
    fake.licence_accepted = False

    with pytest.raises(HubDenied, match="accept its licence"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)


def test_a_token_that_is_wrong_is_told(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bad")

    with pytest.raises(HubDenied, match="check the token"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)


def test_the_token_goes_to_the_hub_and_not_to_where_it_sends_us(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", fake.token)
    fake.gated.add(REPOSITORY)

    fetch(fake, io.BytesIO())

    assert {asked.headers.get("authorization") for asked in fake.asked} == {f"Bearer {fake.token}"}
    assert not any("authorization" in asked.headers for asked in fake.cdn_asked)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_with_a_bad_day_is_told_with_the_pause_that_it_asks_for(
    fake: FakeHub, status: int
) -> None:
    fake.faults.append(Fault(status=status, headers={"Retry-After": "7"}))

    with pytest.raises(HubUnavailable, match=f"answers {status}, and asks to wait 7 seconds"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)


def test_a_hub_that_is_not_there_is_told() -> None:
    with pytest.raises(HubUnavailable, match=r"127\.0\.0\.1:9: \S"):
        HuggingFaceHub("http://127.0.0.1:9").find(SOURCE)


def test_without_the_network_nothing_is_tried(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(HubUnavailable, match="HF_HUB_OFFLINE"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)
    assert fake.asked == []


def test_a_server_that_is_no_hub_is_told(fake: FakeHub) -> None:
    fake.faults.append(Fault(status=200))

    with pytest.raises(HubUnavailable, match="does not speak the protocol"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)


def test_a_file_that_is_too_large_for_the_hub_names_another_way(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE", 1_000)

    with pytest.raises(InvalidField, match="hf download"):
        HuggingFaceHub(fake.endpoint).find(SOURCE)
