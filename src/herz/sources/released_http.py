"""Following a channel over HTTP, at any of the servers of a control plane: one stream of frames, or asking again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from herz.errors import (
    HerzError,
    RevisionExpired,
    SourceDenied,
    SourceUnavailable,
)
from herz.model.document import Revision
from herz.release.channel import Channel
from herz.release.content import Content
from herz.release.record import decode, encode
from herz.release.report import Answer, Graph, Report
from herz.sources.base import Standing
from herz.sources.released_client import API, HttpClient, error_of
from herz.sources.released_frames import (
    AliveFrame,
    AskFrame,
    ContentFrame,
    EndFrame,
    Frame,
    Hello,
    Lines,
    StateFrame,
    broken,
    content_of,
    frame_of,
    frames_of,
)
from herz.sources.released_link import Alive, Asked, Contents, Told, Word
from herz.sources.released_url import PROOF_S, Address

FIRST_S: Final = 5
"""Seconds that the first reading waits for a server that has not got the content yet."""
SILENT: Final = 2
"""Streams that bring nothing, at a server which answers, before they are given up."""
SPREAD_S: Final = 1.0
"""Up to so many seconds pass before a stream that broke is opened again: a fleet lost its server together."""
LONGEST_S: Final = 60.0
"""What a server may ask us to wait before we come back."""
TWIN_S: Final = 60.0
"""Seconds after which a stream that stands counts as the only one of its instance."""


class HttpLink:
    """The way to a channel at one of the `endpoints` of an address; another one is tried when one fails."""

    renew_s: float | None = None

    def __init__(
        self,
        address: Address,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.contents = Contents()
        self.again: Callable[[], None] = lambda: None
        self._address, self._clock, self._chance = address, clock, chance
        self._client = HttpClient(address, chance)
        self._hello: Hello | None = None
        self._open = False
        self._cohort = self._mark = ""
        self._polling = False
        self._silent = 0
        self._not_before = 0.0
        self._twin_s: float | None = None
        self._plain = address.token is not None and any(
            url.startswith("http://") and not _loopback(url) for url in address.endpoints
        )

    @property
    def proof_s(self) -> float:
        """What the URL says, else the server."""
        if self._address.proof_s is not None:
            return self._address.proof_s
        return PROOF_S if self._hello is None else self._hello.proof_s

    @property
    def notices(self) -> tuple[str, ...]:
        """What should be looked at."""
        found: list[str] = []
        if self._polling:
            found.append(
                "something on the way to the control plane holds streams back, so it is asked again and again instead"
            )
        if self._twin_s is not None and self._clock() - self._twin_s < TWIN_S:
            found.append(
                f"another process follows as {self._instance}; give each an instance name of its own (HERZ_INSTANCE)"
            )
        if self._plain:
            found.append("the token is sent in plain text; use herz+tls://")
        return tuple(found)

    @property
    def _instance(self) -> str:
        return self._address.identity.instance

    @property
    def _place(self) -> str:
        return f"/apps/{self._address.app}/namespaces/{self._address.namespace}"

    @property
    def _base(self) -> str:
        return self._client.base

    # --- what is told ---------------------------------------------------------------------------

    async def read(self) -> tuple[str, Told]:
        """What is told now."""
        for wait_s in (1, FIRST_S):
            frames = await self._poll(0, wait_s)
            assert self._hello is not None  # noqa: S101  a poll has one
            for frame in frames:
                if isinstance(frame, StateFrame):
                    return self._hello.identity, self._told(frame)
            if any(isinstance(frame, AliveFrame) for frame in frames):  # nothing is missing: there is no release
                return self._hello.identity, Told(self._hello.revision)
        raise SourceUnavailable(
            f"{self._base} has not got the release yet", where=self._address.name, remedy="it is asked again"
        )

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Word]]:
        """What is told after `after`."""
        await self._spread()
        if not self._polling and self._silent >= SILENT:
            # Where it answers with more than hello, and its streams do not, something on the way holds them back.
            self._polling = any(isinstance(one, StateFrame | AliveFrame) for one in await self._poll(after, 1))
            self._silent = 0
        if self._polling:
            first = await self._poll(after, 1)
            yield self._asking(first, after)
            return
        where = f"{self._base}{API}{self._place}/stream"
        heard_s = self._clock()
        try:
            async with self._client.request("GET", f"{self._place}/stream", params=self._params(after)) as response:
                await self._client.checked(response)
                lines, arrived = Lines(where), response.content.iter_any()
                hello, early = await self._greeted(lines, arrived, where)
                heard_s = self._clock()

                async def words() -> AsyncIterator[Word]:
                    nonlocal heard_s
                    pending = early
                    while True:
                        for line in pending:
                            frame = frame_of(line, where)
                            heard_s, self._silent = self._clock(), 0
                            if frame is not None and (word := self._word(frame, where)) is not None:
                                yield word
                        try:
                            data = await anext(arrived, b"")
                        except self._client.failures as error:
                            raise self._client.unavailable(error) from error
                        if not data:
                            raise SourceUnavailable(f"{self._base} ended the stream", remedy="another one is opened")
                        pending = lines.feed(data)

                self._greet(hello)
                self._open = True
                yield words()
        except self._client.failures as error:
            raise self._client.unavailable(error) from error
        finally:
            self._open = False
            self._silent += self._clock() - heard_s >= 0.9 * self.proof_s
            self._not_before = max(self._not_before, self._clock() + SPREAD_S * self._chance())

    async def _greeted(self, lines: Lines, arrived: AsyncIterator[bytes], where: str) -> tuple[Hello, list[bytes]]:
        """The first frame, and the lines that came with it."""
        async with asyncio.timeout(self.proof_s):
            while True:
                data = await anext(arrived, b"")
                if not data:
                    raise SourceUnavailable(f"{self._base} ended the stream", remedy="another one is opened")
                found = lines.feed(data)
                if found:
                    first = frame_of(found[0], where)
                    if isinstance(first, EndFrame):
                        self._ended(first)
                    if not isinstance(first, Hello):
                        raise broken("a stream that does not begin with hello", where)
                    return first, found[1:]

    def _params(self, after: Revision) -> dict[str, str]:
        params = {"instance": self._instance}
        if after > 0:
            params["after"] = str(after)
            if self._mark:
                params["mark"] = self._mark
        if held := self.contents.digests:
            params["have"] = ",".join(held)
        return params

    def _greet(self, hello: Hello) -> None:
        """A server has begun to tell; what it was told of us may be gone."""
        known, self._hello, self._client.stream = self._hello, hello, hello.stream
        if known is None or known.stream != hello.stream or known.identity != hello.identity:
            self.again()

    def _word(self, frame: Frame, where: str) -> Word | None:
        """What a frame means to whoever follows."""
        if isinstance(frame, ContentFrame):
            self._keep(frame, where)
        elif isinstance(frame, StateFrame):
            return self._told(frame)
        elif isinstance(frame, AskFrame):
            return Asked(frame.ask) if frame.ask.concerns(self._instance, self._cohort) else None
        elif isinstance(frame, AliveFrame):
            return Alive(frame.revision)
        elif isinstance(frame, EndFrame):
            self._ended(frame)
        return None

    def _told(self, frame: StateFrame) -> Told:
        self._cohort, self._mark = frame.cohort, frame.mark
        return Told(frame.revision, frame.cohort, frame.pointer)

    def _keep(self, frame: ContentFrame, where: str) -> None:
        """Hold the content of a frame if it is what it should be; it is fetched as a whole otherwise, when needed."""
        content = content_of(frame, None if frame.base is None else self.contents.get(frame.base))
        if content is not None:
            try:
                self.contents.keep(frame.digest, content, where)
            except (HerzError, UnicodeEncodeError):
                return

    def _ended(self, frame: EndFrame) -> None:
        """Raise why the server ended the stream, and come back when it said."""
        problem = frame.problem
        after = problem.get("retry_after_s")
        if isinstance(after, int | float) and after > 0:
            self._not_before = self._clock() + min(float(after), LONGEST_S)
        if str(problem.get("type", "")).endswith("replaced"):
            self._twin_s = self._clock()
        raise error_of(int(problem.get("status", 503)), problem, self._base)

    async def _spread(self) -> None:
        wait_s = self._not_before - self._clock()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    # --- asking again and again -----------------------------------------------------------------

    async def _poll(self, after: Revision, wait_s: int) -> list[Frame]:
        """The frames of one answer, contents kept; the first is hello."""
        where = f"{self._base}{API}{self._place}/stream"
        params = {**self._params(after), "wait": str(wait_s)}
        data = await self._client.ask("GET", f"{self._place}/stream", params=params, waits_s=wait_s)
        frames = frames_of(data, where)
        if frames and isinstance(frames[0], EndFrame):
            self._ended(frames[0])
        if not frames or not isinstance(frames[0], Hello):
            raise broken("an answer that does not begin with hello", where)
        self._greet(frames[0])
        for frame in frames:
            if isinstance(frame, ContentFrame):
                self._keep(frame, where)
        return frames

    async def _asking(self, frames: list[Frame], after: Revision) -> AsyncIterator[Word]:
        where = f"{self._base}{API}{self._place}/stream"
        self._open = True
        try:
            while True:
                for frame in frames:
                    if isinstance(frame, Hello) and not frame.continues:
                        raise broken("what was told before is not of the history of the store that answers now", where)
                    word = None if isinstance(frame, Hello | ContentFrame) else self._word(frame, where)
                    if isinstance(word, Told | Alive):
                        after = max(after, word.revision)
                    if word is not None:
                        yield word
                frames = await self._poll(after, max(1, min(30, int(self.proof_s / 2))))
        finally:
            self._open = False

    async def standing(self, identity: str, after: Revision) -> Standing:
        """What the server said when the stream was opened; it has waited for what we have seen already."""
        hello = self._hello
        if hello is None:
            raise SourceUnavailable(f"{self._base} has not said where it stands", remedy="it is asked again")
        if hello.identity != identity:
            return Standing(hello.identity, hello.revision, False, f"this is another store, {hello.identity}")
        if hello.revision < after:
            what = f"it is at revision {hello.revision}, and was at {after}"
            return Standing(hello.identity, hello.revision, False, what)
        if not hello.continues:
            what = f"what was told up to revision {after} is not of its history"
            return Standing(hello.identity, hello.revision, False, what)
        return Standing(hello.identity, hello.revision, True)

    async def differs(self, told: Told) -> bool:
        """Whether the channel says something else than was told; False where this token may not look."""
        try:
            data = await self._client.ask("GET", f"{self._place}/channel")
        except SourceDenied:
            return False
        channel = decode(data, Channel, f"{self._base}{self._place}/channel")
        return channel.of(told.cohort) != told.pointer

    # --- contents -------------------------------------------------------------------------------

    async def fetch(self, digest: str) -> Content:
        """A content as a whole, unless a frame has brought it."""
        found = self.contents.get(digest)
        if found is not None:
            return found
        where = f"{self._base}{API}/content/{digest}"
        data = await self._client.ask("GET", f"/content/{digest}")
        content = await asyncio.to_thread(decode, data, Content, where)
        if content.masked:  # an instance sees only what it is told to run now
            raise SourceUnavailable(
                "secrets are masked in what came: the channel has moved on meanwhile",
                where=where,
                remedy="it is asked again",
            )
        self.contents.keep(digest, content, where)
        return content

    # --- what is said ---------------------------------------------------------------------------

    async def report(self, report: Report) -> None:
        """Tell the server that we follow."""
        await self._say("PUT", f"{self._place}/instances/{self._instance}/report", encode(report))

    async def answer(self, answer: Answer) -> None:
        """Answer, while the question stands."""
        try:
            await self._say("PUT", f"{self._place}/asks/{answer.nonce}/answers/{self._instance}", encode(answer))
        except RevisionExpired:  # nobody waits for it any more
            return

    async def describe(self, digest: str, graph: Graph) -> None:
        """Leave a graph at its address."""
        await self._say("PUT", f"/graphs/{digest}", encode(graph))

    async def renew(self) -> None:
        """Nothing: the server holds the lease."""

    async def leave(self) -> None:
        """Nothing: the server sees that the stream ends."""

    async def _say(self, method: str, path: str, body: bytes) -> None:
        if not self._open:
            raise SourceUnavailable("no stream is open", where=self._base, remedy="it is said when one is")
        await self._client.ask(method, path, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _loopback(url: str) -> bool:
    host = url.removeprefix("http://").rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")
