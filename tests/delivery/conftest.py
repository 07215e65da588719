"""Servers over real stores, and clients that follow them over HTTP and remember every frame."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from herz.release.channel import Channel, Mailbox, Pointer, Release, ReleaseRef
from herz.release.content import Content, LayerText, digest_of, packed
from herz.release.record import encode
from herz.server import api_delivery
from herz.server.app import create_app
from herz.server.clock import SystemClock
from herz.server.delivery import Delivery
from herz.server.fleet import Fleet
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.settings import ServerSettings
from herz.store.base import Put, Store, Txn
from herz.store.etcd.store import EtcdStore
from herz.store.plane import channel_key, chunk_key, content_key, counter_key, mailbox_key, release_key
from herz.store.sqlite import SqliteStore
from herz.testing.etcd_cluster import EtcdServer

PLACE = "/api/v1/apps/pay/namespaces/default"


async def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait in real time until `condition` holds; what it gave."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, "never held"
        await asyncio.sleep(0.002)
    return found


@pytest.fixture(name="eventually")
def eventually_() -> Callable[..., Awaitable[Any]]:
    return eventually


# --- stores -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.slow)])
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def open_store(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable]:
    """Opens clients of one store, empty at the start of the test."""
    opened: list[Store] = []
    if store_kind == "etcd":
        server: EtcdServer = request.getfixturevalue("etcd")
        cleaner = EtcdStore([server.endpoint])
        await cleaner.delete_prefix("/herz/")
        await cleaner.close()

    def make() -> Store:
        if store_kind == "etcd":
            store: Store = EtcdStore([server.endpoint], proof_s=1.0)  # proved twice a second
        else:
            store = SqliteStore(tmp_path / "herz.db")
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Callable[[], SqliteStore]:
    return lambda: SqliteStore(tmp_path / "herz.db")


# --- what is released ---------------------------------------------------------------------------------


def content_of(text: str) -> Content:
    return Content(layers=(LayerText(name="application", text=text),))


class Publisher:
    """Releases by hand: content, channel and mailboxes, straight into the store."""

    def __init__(self, store: Store, app: str = "pay", namespace: str = "default") -> None:
        self.store, self.place = store, (app, namespace)
        self.channel = Channel()
        self.number = 0

    async def content(self, text: str) -> ReleaseRef:
        content = content_of(text)
        manifest, chunks = packed(content)
        for name, data in chunks.items():
            await self.store.put(chunk_key(name), data)
        await self.store.put(content_key(manifest.digest), encode(manifest))
        self.number += 1
        return ReleaseRef(number=self.number, digest=manifest.digest, fingerprint=f"sha256:{self.number:064x}")

    async def point(self, channel: Channel) -> int:
        self.channel = channel
        return await self.store.put(channel_key(*self.place), encode(channel))

    async def release(self, text: str) -> ReleaseRef:
        ref = await self.content(text)
        app, namespace = self.place
        release = Release(
            app=app,
            namespace=namespace,
            number=ref.number,
            digest=ref.digest,
            fingerprint=ref.fingerprint,
            author="ada",
            message="go",
            time=datetime(2030, 1, 1, tzinfo=UTC),
        )
        await self.store.put(release_key(app, namespace, ref.number), encode(release))
        await self.store.put(counter_key(app, namespace), b"%d" % ref.number)
        await self.point(Channel(stable=Pointer(release=ref), cohorts=self.channel.cohorts))
        return ref

    async def assign(self, cohort: str, *instances: str) -> int:
        puts = [Put(mailbox_key(*self.place, one), encode(Mailbox(cohort=cohort))) for one in instances]
        return (await self.store.txn(Txn(then=puts))).revision


@pytest.fixture
def publisher() -> type[Publisher]:
    return Publisher


# --- servers --------------------------------------------------------------------------------------------


class Running:
    """A server in this process."""

    def __init__(self, plane: Plane, clock: SteppedClock, url: str) -> None:
        self.plane, self.clock, self.url = plane, clock, url
        self.hub, self.delivery, self.fleet = plane.of(Hub), plane.of(Delivery), plane.of(Fleet)


class SteppedClock(SystemClock):
    """The machine's clock, and what it was set forward."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@asynccontextmanager
async def serving(store: Store, settings: ServerSettings | None = None, **changes: Any) -> AsyncIterator[Running]:
    """A server over `store`, which stays open; `changes` are made to its parts before it starts."""
    clock = SteppedClock()
    app = create_app(store, settings or ServerSettings(), parts=[api_delivery.part], clock=clock)
    plane: Plane = app.state.plane
    for name, value in changes.items():
        setattr(plane.of(Fleet), name, value)
        if name == "ttl_s":
            plane.of(Fleet).lease.ttl_s = value
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http="httptools", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    async with app.lifespan():
        task = asyncio.create_task(server._serve([sock]))
        await eventually(lambda: server.started)
        try:
            yield Running(plane, clock, f"http://127.0.0.1:{sock.getsockname()[1]}")
        finally:
            plane.closing.set()
            server.should_exit = True
            await task
            sock.close()


@pytest.fixture(name="serving")
def serving_() -> Callable:
    return serving


# --- clients --------------------------------------------------------------------------------------------


class Follower:
    """A client of one stream: every frame in order, contents put together as they come."""

    def __init__(self, session: aiohttp.ClientSession, url: str, instance: str, place: str = PLACE) -> None:
        self.http, self.url, self.instance, self.place = session, url, instance, place
        self.frames: list[dict[str, Any]] = []
        self.contents: dict[str, Content] = {}
        self.ended = asyncio.Event()
        self.failure: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, query: str = "", headers: dict[str, str] | None = None) -> Follower:
        self.ended.clear()
        self.task = asyncio.create_task(self._run(query, headers))
        return self

    async def _run(self, query: str, headers: dict[str, str] | None) -> None:
        try:
            address = f"{self.url}{self.place}/stream?instance={self.instance}{query}"
            async with self.http.get(address, headers=headers) as response:
                assert response.status == 200, await response.text()
                buffered = b""
                async for data in response.content.iter_any():
                    *lines, buffered = (buffered + data).split(b"\n")
                    for line in lines:
                        self.take(json.loads(line))
        except BaseException as error:
            self.failure = error
        finally:
            self.ended.set()

    def take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "content":
            base = self.contents[frame["base"]] if frame["base"] else Content()
            content = applied(base, frame["layers"])
            assert digest_of(content) == frame["digest"], "what was put together is not what was announced"
            self.contents[frame["digest"]] = content
        self.frames.append(frame)

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] in types]

    @property
    def session(self) -> str:
        return str(self.of("hello")[-1]["stream"])

    @property
    def running(self) -> int | None:
        """The number of the release that it was told last."""
        states = self.of("state")
        release = states[-1]["pointer"].get("release") if states else None
        return None if release is None else int(release["number"])

    @property
    def text(self) -> str:
        """The text of the release that it was told last."""
        release = self.of("state")[-1]["pointer"]["release"]
        return self.contents[release["digest"]].layers[0].text

    def report(self, **changes: Any) -> dict[str, Any]:
        app, namespace = self.place.split("/")[4], self.place.split("/")[6]
        return {
            "instance": self.instance,
            "app": app,
            "namespace": namespace,
            "status": "APPLIED",
            "time": datetime.now(UTC).isoformat(),
            **changes,
        }

    async def put(self, path: str, body: Any, session: str | None = None) -> int:
        headers = {"X-Herz-Stream": self.session if session is None else session}
        async with self.http.put(f"{self.url}{self.place}{path}", json=body, headers=headers) as response:
            await response.read()
            return response.status

    async def say(self, session: str | None = None, **changes: Any) -> int:
        """Report."""
        return await self.put(f"/instances/{self.instance}/report", self.report(**changes), session)

    async def answer(self, nonce: str, session: str | None = None, **changes: Any) -> int:
        body = {"nonce": nonce, "instance": self.instance, "report": self.report(**changes)}
        return await self.put(f"/asks/{nonce}/answers/{self.instance}", body, session)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


def applied(base: Content, layers: list[dict[str, Any]]) -> Content:
    """What the layers of a content frame make of `base`."""
    known = {layer.name: layer.text for layer in base.layers}
    made = []
    for layer in layers:
        text = layer.get("text")
        if text is None:
            before = known[layer["name"]]
            text = before[: layer["at"]] + layer["put"] + before[layer["at"] + layer["drop"] :]
        made.append(LayerText(name=layer["name"], text=text, format=layer["format"], dimension=layer["dimension"]))
    return Content(layers=tuple(made))


@pytest.fixture(scope="session", name="applied")
def applied_() -> Callable[..., Content]:
    return applied


@pytest.fixture
async def follow() -> AsyncIterator[Callable[..., Follower]]:
    """Starts followers; they end with the test."""
    followers: list[Follower] = []
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        def start(running: Any, instance: str, query: str = "", **options: Any) -> Follower:
            headers = options.pop("headers", None)
            follower = Follower(session, getattr(running, "url", running), instance, **options)
            followers.append(follower)
            return follower.start(query, headers)

        yield start
        for follower in followers:
            await follower.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# --- processes ------------------------------------------------------------------------------------------


class Process:
    """`herz serve` in a process of its own."""

    def __init__(self, store: str, port: int) -> None:
        self.store, self.port = store, port
        self.url = f"http://127.0.0.1:{port}"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "herz.cli.main", "serve", "--store", self.store, "--listen", self.url,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with aiohttp.ClientSession() as session:
            deadline = asyncio.get_running_loop().time() + 20
            while True:
                try:
                    async with session.get(f"{self.url}/health") as response:
                        if response.status == 200:
                            return self
                except aiohttp.ClientError:
                    pass
                assert asyncio.get_running_loop().time() < deadline, "the server did not start"
                assert self.process.returncode is None, "the server ended"
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture
async def processes() -> AsyncIterator[Callable[[str], Awaitable[Process]]]:
    """Starts `herz serve` on a store's URL."""
    started: list[Process] = []

    async def start(store: str) -> Process:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = Process(store, port)
        started.append(process)
        return await process.start()

    yield start
    for process in started:
        await process.kill()
