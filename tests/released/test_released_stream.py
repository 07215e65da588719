"""A stream of frames that is cut, garbled, reordered, wrong or silent: a whole release or nothing, and it says why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from herz.errors import HerzError, HistoryBroken, RevisionExpired, SourceDenied, SourceUnavailable
from herz.model.document import Batch, Progress, Reset
from herz.model.tree import thaw
from herz.release.channel import Pointer, ReleaseRef
from herz.release.content import Content, LayerText, digest_of
from herz.release.record import encode
from herz.release.report import Ask
from herz.server import frames
from herz.sources.base import Failed, Item, Prepare
from herz.sources.released import ReleasedSource
from herz.sources.released_http import HttpLink
from herz.sources.released_link import Alive, Asked, Told
from herz.sources.released_url import Address
from herz.watch.session import Session

IDENTITY = "s1"
NOTE = "# what the pool is for, said at some length, so that a span is shorter than the whole text\n"
ONE = Content(layers=(LayerText(name="tenant", text=f"{NOTE}pool:\n  size: 1\nname: pay\n"),))
TWO = Content(layers=(LayerText(name="tenant", text=f"{NOTE}pool:\n  size: 2\nname: pay\n"),))


def ref(content: Content, number: int) -> ReleaseRef:
    return ReleaseRef(number=number, digest=digest_of(content), fingerprint="sha256:x")


def pointer(content: Content = ONE, number: int = 1, prepare: ReleaseRef | None = None) -> Pointer:
    return Pointer(release=ref(content, number), prepare=prepare)


def hello(revision: int = 5, identity: str = IDENTITY, proof_s: float = 10.0) -> bytes:
    return frames.hello(identity=identity, revision=revision, server="test", proof_s=proof_s, stream="st")


def full(content: Content) -> bytes:
    return frames.content(digest_of(content), content)


def begin(revision: int = 5) -> bytes:
    """What a server says to who knows nothing."""
    return hello(revision) + full(ONE) + frames.state(revision, "stable", pointer())


class Server:
    """Says what it is told to say, byte by byte."""

    def __init__(self) -> None:
        self.url = ""
        self.over = asyncio.Event()
        self.poll = begin()
        self.stream: Callable[[web.StreamResponse], Awaitable[None]] = self.stay(hello())
        self.contents: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.seen: list[web.Request] = []
        self.reports: list[Any] = []
        self.channel = Pointer()

    def stay(self, *pieces: bytes) -> Callable[[web.StreamResponse], Awaitable[None]]:
        """Say `pieces`, and then nothing."""

        async def act(response: web.StreamResponse) -> None:
            for piece in pieces:
                await response.write(piece)
            await self.over.wait()

        return act

    def cut(self, data: bytes) -> Callable[[web.StreamResponse], Awaitable[None]]:
        """Say `data`, and end."""

        async def act(response: web.StreamResponse) -> None:
            await response.write(data)

        return act

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        what = request.path.rpartition("/")[2]
        if (status := self.status.get(what)) is not None:
            return web.json_response({"what": "refused here", "status": status}, status=status)
        if "/content/" in request.path:
            return web.Response(body=self.contents.get(what, b"{}"))
        if what == "channel":
            return web.json_response({"stable": json.loads(encode(self.channel))})
        if what == "report":
            self.reports.append((request.headers.get("X-Herz-Stream"), json.loads(await request.read())))
            return web.Response(status=204)
        if what == "stream" and "wait" in request.query:
            return web.Response(body=b"[" + b",".join(self.poll.splitlines()) + b"]")
        if what == "stream":
            response = web.StreamResponse()
            await response.prepare(request)
            await self.stream(response)
            return response
        return web.Response(status=204)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"herz://127.0.0.1:{port}/pay"
    yield server
    server.over.set()
    await runner.cleanup()


def link_of(url: str) -> HttpLink:
    return HttpLink(Address.parse(url, {}), chance=lambda: 0.0)


@asynccontextmanager
async def source_of(server: Server, options: str = "?instance=one") -> AsyncIterator[ReleasedSource]:
    address = Address.parse(server.url + options, {})
    source = ReleasedSource(address, HttpLink(address, chance=lambda: 0.0))
    try:
        yield source
    finally:
        await source.close()


async def items_of(source: ReleasedSource, revision: int, count: int = 100) -> tuple[list[Item], HerzError | None]:
    """What is handed on until there are `count`, or the stream ends: and why it did."""
    found: list[Item] = []
    try:
        async with asyncio.timeout(10), source.follow(revision) as items:
            async for item in items:
                found.append(item)
                if len(found) == count:
                    return found, None
    except HerzError as error:
        return found, error
    return found, None


async def test_a_stream_that_is_cut_at_any_byte_hands_on_a_whole_release_or_nothing(server: Server) -> None:
    data = hello() + full(TWO) + frames.state(6, "stable", pointer(TWO, 2))
    whole = 0
    async with source_of(server) as source:
        for length in range(len(data) + 1):
            server.stream = server.cut(data[:length])
            document = await source.read()
            assert thaw(document.parts[0].tree)["pool"] == {"size": 1}
            found, error = await items_of(source, document.revision)
            assert isinstance(error, SourceUnavailable)
            whole += len(found)
            for item in found:
                assert isinstance(item, Batch)
                assert thaw(item.document.parts[0].tree) == {"pool": {"size": 2}, "name": "pay"}
    assert whole == 1


GARBAGE = {
    "half": b'{"type":"state","rev\n',
    "array": b"[1]\n",
    "text": b"<html>502</html>\n",
    "bytes": b"\xff\xfe\x00\n",
    "kind": b'{"type":1}\n',
    "field": b'{"type":"state","revision":"six"}\n',
    "pointer": b'{"type":"state","revision":6,"pointer":{"release":{"number":1}}}\n',
    "deep": b'{"type":"ask","ask":' + b"[" * 5_000 + b"\n",
    "layer": b'{"type":"content","digest":"sha256:x","layers":[{"name":"a","format":"exe","text":""}]}\n',
    "back": frames.state(4, "stable", pointer(TWO, 2)),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_frame_ends_the_stream_and_nothing_is_handed_on(server: Server, garbage: bytes) -> None:
    async with source_of(server) as source:
        document = await source.read()
        server.stream = server.stay(hello() + garbage + full(TWO) + frames.state(6, "stable", pointer(TWO, 2)))
        found, error = await items_of(source, document.revision)
        assert (found, type(error)) == ([], HistoryBroken)


async def test_a_stream_that_does_not_begin_with_hello_is_none(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        server.stream = server.stay(frames.alive(5))
        assert isinstance((await items_of(source, document.revision))[1], HistoryBroken)


async def test_frames_of_a_newer_server_are_passed_over(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        server.stream = server.stay(hello() + b'{"type":"later","x":[1]}\n' + frames.alive(7))
        found, _ = await items_of(source, document.revision, 1)
        assert found == [Progress(7, True)]


async def test_a_frame_without_an_end_is_not_collected_for_ever(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setattr("herz.sources.released_frames.LINE_BYTES", 10_000)
    async with source_of(server) as source:
        document = await source.read()
        server.stream = server.stay(hello(), *[b"x" * 4_000] * 5)
        _, error = await items_of(source, document.revision)
        assert "more than 10,000 bytes" in str(error)


async def test_frames_that_come_byte_by_byte_are_frames(server: Server) -> None:
    data = hello() + full(TWO) + frames.state(6, "stable", pointer(TWO, 2))

    async def slowly(response: web.StreamResponse) -> None:
        for at in range(len(data)):
            await response.write(data[at : at + 1])
        await server.over.wait()

    async with source_of(server) as source:
        document = await source.read()
        server.stream = slowly
        found, _ = await items_of(source, document.revision, 1)
        assert isinstance(found[0], Batch)


def content_requests(server: Server) -> list[str]:
    return [request.path for request in server.seen if "/content/" in request.path]


async def test_a_content_is_told_as_the_span_that_differs(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        delta = frames.content(digest_of(TWO), TWO, digest_of(ONE), ONE)
        assert b'"put":"2"' in delta
        server.stream = server.stay(hello() + delta + frames.state(6, "stable", pointer(TWO, 2)))
        found, _ = await items_of(source, document.revision, 1)
        assert isinstance(found[0], Batch)
        assert [event[1:] for event in found[0].events] == [(1, 2)]
        assert content_requests(server) == []
        assert digest_of(ONE) in server.seen[-1].query["have"]


@pytest.mark.parametrize(
    "wrong",
    [
        frames.content(digest_of(TWO), ONE, digest_of(ONE), ONE),
        frames.content(digest_of(TWO), TWO, "sha256:" + "0" * 64, ONE),
        json.dumps(
            {
                "type": "content",
                "digest": digest_of(TWO),
                "base": digest_of(ONE),
                "layers": [{"name": "tenant", "at": 9_000, "drop": 1, "put": "x"}],
            }
        ).encode()
        + b"\n",
    ],
)
async def test_a_span_that_does_not_lead_to_its_digest_is_not_used_and_the_whole_is_fetched(
    server: Server, wrong: bytes
) -> None:
    async with source_of(server) as source:
        document = await source.read()
        server.contents[digest_of(TWO)] = encode(TWO)
        server.stream = server.stay(hello() + wrong + frames.state(6, "stable", pointer(TWO, 2)))
        found, _ = await items_of(source, document.revision, 1)
        assert isinstance(found[0], Batch)
        assert thaw(found[0].document.parts[0].tree)["pool"] == {"size": 2}
        assert content_requests(server) == [f"/api/v1/content/{digest_of(TWO)}"]


async def test_a_whole_content_that_is_not_what_its_digest_says_is_refused(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        server.contents[digest_of(TWO)] = encode(ONE)
        server.stream = server.stay(hello() + frames.state(6, "stable", pointer(TWO, 2)) + frames.alive(7))
        found, _ = await items_of(source, document.revision, 2)
        assert all(isinstance(item, Failed) for item in found)  # that it stands is the sign of life
        server.contents[digest_of(TWO)] = encode(TWO)
        server.stream = server.stay(hello() + frames.state(8, "stable", pointer(TWO, 2)))
        again, _ = await items_of(source, 7, 2)
        assert [type(item) for item in again] == [Failed, Batch]


async def test_a_content_whose_secrets_are_masked_is_never_run_and_asked_for_again(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        masked = Content(layers=(LayerText(name="tenant", text="pool:\n  token: ••••\n"),), masked=True)
        server.contents[digest_of(TWO)] = encode(masked)
        server.stream = server.stay(hello() + frames.state(6, "stable", pointer(TWO, 2)))
        found, error = await items_of(source, document.revision, 1)
        assert found == []
        assert isinstance(error, SourceUnavailable)
        assert "masked" in str(error)
        server.contents[digest_of(TWO)] = encode(TWO)
        found, _ = await items_of(source, document.revision, 1)
        assert isinstance(found[0], Batch)


async def test_what_stands_prepared_is_handed_on_again_to_a_new_follower(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        state = frames.state(6, "r1-b1", pointer(ONE, 1, ref(TWO, 2)))
        server.stream = server.stay(hello() + full(TWO) + state)
        found, _ = await items_of(source, document.revision, 1)
        server.stream = server.stay(hello(6) + frames.alive(6))
        again, _ = await items_of(source, 6, 2)
        assert isinstance(found[0], Prepare)
        assert isinstance(again[0], Prepare)
        assert found[0].document is not None
        assert again[0].document is not None
        assert again[0].document.parts == found[0].document.parts
        assert again[0].events == found[0].events
        assert again[1] == Progress(6, True)


async def test_several_changed_layers_are_one_reset_without_a_reason(server: Server) -> None:
    both = Content(layers=(*TWO.layers, LayerText(name="policy", text="x: 1\n")))
    async with source_of(server) as source:
        document = await source.read()
        server.stream = server.stay(hello() + full(both) + frames.state(6, "stable", pointer(both, 2)))
        found, _ = await items_of(source, document.revision, 1)
        assert isinstance(found[0], Reset)
        assert (found[0].reason, len(found[0].document.parts)) == ("", 2)


async def test_only_questions_that_concern_this_instance_are_heard(server: Server) -> None:
    link = link_of(server.url + "?instance=one")
    await link.read()
    asks = [Ask(nonce="a", instances=("two",)), Ask(nonce="b", cohorts=("stable",)), Ask(nonce="c")]
    server.stream = server.stay(hello(), *map(frames.ask, asks), frames.alive(6))
    heard: list[Any] = []
    async with link.follow(5) as words:
        async for word in words:
            heard.append(word)
            if isinstance(word, Alive):
                break
    assert [word.ask.nonce for word in heard if isinstance(word, Asked)] == ["b", "c"]
    await link.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, SourceDenied),
        (403, SourceDenied),
        (404, SourceUnavailable),
        (410, RevisionExpired),
        (503, SourceUnavailable),
    ],
)
async def test_a_refusal_is_the_error_that_says_who_must_act(
    server: Server, status: int, kind: type[HerzError]
) -> None:
    async with source_of(server) as source:
        server.status["stream"] = status
        with pytest.raises(kind, match="refused here"):
            await source.read()


async def test_a_token_that_expires_ends_the_stream_and_is_no_matter_of_waiting(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        problem = {"type": "urn:herz:problem:unauthorized", "status": 401, "what": "the token has expired"}
        server.stream = server.stay(hello() + frames.end(problem))
        _, error = await items_of(source, document.revision)
        assert isinstance(error, SourceDenied)
        assert "the token has expired" in str(error)


async def test_who_is_replaced_by_a_process_of_the_same_name_says_so(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        problem = {"type": "urn:herz:problem:replaced", "status": 503, "what": "another", "retry_after_s": 0.2}
        server.stream = server.stay(hello() + frames.end(problem))
        loop = asyncio.get_running_loop()
        assert isinstance((await items_of(source, document.revision))[1], SourceUnavailable)
        assert any("another process follows as one" in notice for notice in source.notices)
        server.stream, ended = server.stay(hello() + frames.alive(5)), loop.time()
        await items_of(source, document.revision, 1)
        assert loop.time() - ended >= 0.15  # it came back when it was told to


async def test_another_endpoint_is_asked_when_one_does_not_answer(server: Server) -> None:
    good = server.url.removeprefix("herz://").removesuffix("/pay")
    link = link_of(f"herz://127.0.0.1:1,{good}/pay?instance=one")
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:1"):
        await link.read()
    identity, told = await link.read()
    assert (identity, told) == (IDENTITY, Told(5, "stable", pointer()))
    await link.close()


async def test_the_token_is_shown_and_read_from_its_file(server: Server, folder: Any) -> None:
    (folder / "token").write_text("abc\n")
    async with source_of(server, "?instance=one&token-file=token") as source:
        await source.read()
    assert server.seen[-1].headers["Authorization"] == "Bearer abc"
    assert "abc" not in repr(source.address)


class Following:
    """A session over the source, as Herz has one."""

    def __init__(self, source: ReleasedSource) -> None:
        self.source, self.items = source, list[Item]()
        self.handled = 0
        self.session = Session(source, self._deliver, self._applied, chance=lambda: 0.0)

    async def _deliver(self, item: Item) -> None:
        self.items.append(item)
        self.handled = item.document.revision if isinstance(item, Reset) else item.revision

    async def _applied(self) -> int:
        return self.handled

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.handled = (await self.source.read()).revision
        task = asyncio.create_task(self.session.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.slow
async def test_streams_that_are_held_back_on_the_way_are_given_up_for_asking_again_and_again(
    server: Server, soon: Any
) -> None:
    server.stream = server.stay()  # a proxy that collects until it has a megabyte
    async with source_of(server, "?instance=one&proof=200ms") as source:
        following = Following(source)
        following.session._core.proof_s = 5.0  # whoever follows is more patient than the way, so that it can be told
        async with following.running():
            server.poll = hello(6) + full(TWO) + frames.state(6, "stable", pointer(TWO, 2)) + frames.alive(6)
            await soon(lambda: any(isinstance(item, Batch) for item in following.items))
            assert any("holds streams back" in notice for notice in source.notices)
            server.poll = hello(7) + frames.alive(7)
            await soon(lambda: Progress(7, True) in following.items)
            assert server.seen[-1].query["after"] in ("6", "7")
            assert server.seen[-1].headers["X-Herz-Stream"] == "st"


async def test_a_server_that_is_gone_is_no_buffering_proxy(server: Server) -> None:
    server.stream = server.stay()
    async with source_of(server, "?instance=one&proof=200ms") as source:
        document = await source.read()
        for _ in range(2):
            await items_of(source, document.revision)
        server.status["stream"] = 503
        _, error = await items_of(source, document.revision)
        assert isinstance(error, SourceUnavailable)
        assert source.notices == ()


async def test_a_server_that_can_prove_nothing_itself_is_no_buffering_proxy(server: Server) -> None:
    async with source_of(server, "?instance=one&proof=200ms") as source:
        document = await source.read()
        server.stream, server.poll = server.stay(hello()), hello()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), source.follow(document.revision) as items:
                    await anext(items)
        assert source.notices == ()


@pytest.mark.parametrize(("revision", "identity"), [(3, IDENTITY), (9, "another")])
async def test_a_store_that_went_back_or_is_another_one_is_read_again_as_a_new_epoch(
    server: Server, soon: Any, revision: int, identity: str
) -> None:
    server.stream = server.cut(hello() + frames.alive(5))
    async with source_of(server) as source:
        following = Following(source)
        async with following.running():
            await soon(lambda: Progress(5, True) in following.items)
            server.poll = hello(revision, identity) + full(TWO) + frames.state(revision, "stable", pointer(TWO, 2))
            server.stream = server.stay(hello(revision, identity) + frames.alive(revision))
            await soon(lambda: any(isinstance(item, Reset) for item in following.items))
            reset = next(item for item in following.items if isinstance(item, Reset))
            assert (reset.rewound, reset.document.revision) == (True, revision)
            assert following.session.rewinds == 1


async def test_what_was_told_last_is_shown_and_a_store_that_never_held_it_is_a_new_epoch(
    server: Server, soon: Any
) -> None:
    mark = f"4-{'ab' * 8}"
    server.stream = server.cut(hello() + frames.state(5, "stable", pointer(ONE, 1), mark))
    async with source_of(server) as source:
        following = Following(source)
        async with following.running():
            await soon(lambda: any("mark" in request.query for request in server.seen))
            assert {request.query["mark"] for request in server.seen if "mark" in request.query} == {mark}
            told = json.loads(hello(9)) | {"continues": False}
            server.poll = hello(9) + full(TWO) + frames.state(9, "stable", pointer(TWO, 1))
            server.stream = server.stay(json.dumps(told).encode() + b"\n")
            await soon(lambda: any(isinstance(item, Reset) for item in following.items))
            reset = next(item for item in following.items if isinstance(item, Reset))
            assert (reset.rewound, reset.document.revision) == (True, 9)


async def test_a_look_waits_for_what_is_going_to_be_told(server: Server) -> None:
    async with source_of(server) as source:
        document = await source.read()
        server.channel = pointer()
        assert await source.rescan() == document.revision
        server.channel = pointer(TWO, 2)
        assert await source.rescan() == document.revision + 1
        server.status["channel"] = 403  # a token that may report and not read
        assert await source.rescan() == document.revision
