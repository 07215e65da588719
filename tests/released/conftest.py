"""A source in memory that prepares what it will hand on, a control plane without a server, and patience."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from herz.errors import DocumentMalformed
from herz.formats.decode import decode
from herz.merge.fingerprint import Fingerprint
from herz.merge.overlay import merged
from herz.model.document import Batch, Document, Event, Reset
from herz.model.secret import SecretKeys
from herz.model.tree import differences
from herz.release.channel import Channel, Mailbox, Pointer, ReleaseRef
from herz.release.content import Content, LayerText, packed
from herz.release.record import decode as record
from herz.release.record import encode
from herz.release.report import Answer, Ask, Asks, Report
from herz.sources.base import Prepare, Running
from herz.sources.mapping import MappingSource
from herz.store.base import Store
from herz.store.etcd.store import EtcdStore
from herz.store.plane import (
    answers_prefix,
    asks_key,
    channel_key,
    chunk_key,
    content_key,
    fleet_prefix,
    mailbox_key,
    report_key,
)
from herz.store.sqlite import SqliteStore
from herz.testing.control_plane import ControlPlaneServer
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer

LIMIT_S = 15.0


def eventually(condition: Callable[[], object], timeout_s: float = LIMIT_S) -> None:
    """Return when `condition` holds; fail when it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


async def soon(condition: Callable[[], object], timeout_s: float = LIMIT_S) -> None:
    """The same for a test that runs on a loop."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually


@pytest.fixture(name="soon")
def _soon() -> Callable[..., Awaitable[None]]:
    return soon


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class AheadSource(MappingSource):
    """`prepare` a mapping, then `commit` it; `running` and `graph` are what Herz attached, which is waited for."""

    ahead: Document | None = None
    told = 0
    detached = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.attached = threading.Event()

    def attach(self, running: Callable[[], Running], graph: Callable[[], Mapping[str, Any]]) -> None:
        self.attached_running, self.graph = running, graph
        self.attached.set()

    def running(self) -> Running:
        assert self.attached.wait(LIMIT_S), "Herz never attached"
        return self.attached_running()

    def moved(self) -> None:
        self.told += 1

    async def detach(self) -> None:
        self.detached = True

    def prepare(self, mapping: Mapping[str, Any] | None, *, keep: bool = True, events: bool = True) -> Document | None:
        """Have `mapping` built and not used; None withdraws."""
        with self._guard():
            if mapping is None:
                self.ahead = None
                self._hand_on(Prepare(self._revision, None))
                return None
            tree = MappingSource(mapping).document.tree
            document = Document(self.origin, self._revision, tree)
            changed = tuple(Event(*one) for one in differences(self._document.tree, tree)) if events else None
            if keep:
                self.ahead = document
            self._hand_on(Prepare(self._revision, document, keep, changed))
            return document

    def commit(self, *, whole: bool = False) -> int:
        """What was prepared is in force from the next revision on, which is answered."""
        with self._guard():
            assert self.ahead is not None
            events = tuple(Event(*one) for one in differences(self._document.tree, self.ahead.tree))
            self._revision += 1
            self._tree = self.ahead.tree
            self._document = replace(self.ahead, revision=self._revision)
            self._hand_on(Reset(self._document) if whole else Batch(self._revision, events, self._document))
            return self._revision


@pytest.fixture
def ahead() -> AheadSource:
    return AheadSource({"pool.size": 1, "name": "pay"}, "memory")


class Plane:
    """What a control plane writes for its instances, written by hand."""

    def __init__(self, store: Store, app: str = "pay", namespace: str = "default") -> None:
        self.store, self.app, self.namespace, self.base = store, app, namespace, ""
        self.newest = 0
        self.channel = Channel()

    async def content(self, *texts: str | LayerText) -> tuple[str, str]:
        """Write a content of these layers (`tenant` first, in YAML); its digest and release fingerprint."""
        names = ("tenant", "policy", "feature")
        layers = tuple(
            one if isinstance(one, LayerText) else LayerText(name=name, text=one)
            for name, one in zip(names, texts, strict=False)
        )
        content = Content(layers=layers)
        manifest, chunks = packed(content)
        for name, chunk in chunks.items():
            await self.store.put(chunk_key(name), chunk)
        await self.store.put(content_key(manifest.digest), encode(manifest))
        try:
            trees = [
                decode(layer.text.encode(), layer.format.replace("env", "dotenv"), name="x").tree for layer in layers
            ]
            fingerprint = str(Fingerprint.of(merged([tree for tree in trees if tree]), SecretKeys()))
        except DocumentMalformed:
            fingerprint = "sha256:bad"
        return manifest.digest, fingerprint

    async def release(self, *texts: str | LayerText, number: int | None = None) -> ReleaseRef:
        """A release that nobody runs yet."""
        digest, fingerprint = await self.content(*texts)
        self.newest = self.newest + 1 if number is None else number
        return ReleaseRef(number=self.newest, digest=digest, fingerprint=fingerprint)

    async def point(
        self, release: ReleaseRef | None = None, prepare: ReleaseRef | None = None, cohort: str | None = None
    ) -> int:
        """Move the pointer of `cohort`, in one write."""
        pointer = Pointer(release=release, prepare=prepare)
        if cohort is None:
            self.channel = Channel(stable=pointer, cohorts=self.channel.cohorts)
        else:
            self.channel = Channel(stable=self.channel.stable, cohorts={**self.channel.cohorts, cohort: pointer})
        return await self.store.put(channel_key(self.app, self.namespace), encode(self.channel))

    async def publish(self, *texts: str | LayerText) -> ReleaseRef:
        """Release, and point everybody at it."""
        ref = await self.release(*texts)
        await self.point(ref)
        return ref

    async def assign(self, instance: str, cohort: str) -> int:
        return await self.store.put(mailbox_key(self.app, self.namespace, instance), encode(Mailbox(cohort=cohort)))

    async def report(self, instance: str = "one") -> Report | None:
        entry = await self.store.get(report_key(self.app, self.namespace, instance))
        return None if entry is None else record(entry.value, Report, "report")

    async def reported(self, condition: Callable[[Report], object], instance: str = "one") -> Report:
        """The first report for which `condition` holds."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            report = await self.report(instance)
            if report is not None and condition(report):
                return report
            assert time.monotonic() < deadline, f"it was never reported: {report}"
            await asyncio.sleep(0.005)

    async def fleet(self, count: int) -> dict[str, Report]:
        """All reports, once there are `count` which run the newest release."""
        prefix, deadline = fleet_prefix(self.app, self.namespace), time.monotonic() + LIMIT_S
        while True:
            entries = (await self.store.range(prefix)).entries
            found = {entry.key.removeprefix(prefix): record(entry.value, Report, entry.key) for entry in entries}
            if [report.config_version for report in found.values()] == [self.newest] * count:
                return found
            assert time.monotonic() < deadline, f"they did not all report: {found}"
            await asyncio.sleep(0.005)

    async def ask(self, ask: Ask, *instances: str) -> list[Answer]:
        """Ask, and wait for the answers of `instances`."""
        await self.store.put(asks_key(self.app, self.namespace), encode(Asks(open=(ask,))))
        deadline = time.monotonic() + LIMIT_S
        while True:
            found = await self.store.range(answers_prefix(self.app, self.namespace, ask.nonce))
            answers = [record(entry.value, Answer, "answer") for entry in found.entries]
            if {answer.instance for answer in answers} >= set(instances):
                return answers
            assert time.monotonic() < deadline, f"not everybody answered: {answers}"
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdServer]:
    if not EtcdPrograms.available():
        pytest.skip("no etcd: tools/servers installs it")
    with EtcdServer() as server:
        yield server


@pytest.fixture(scope="session")
def served() -> Iterator[ControlPlaneServer]:
    with ControlPlaneServer() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.slow), "http"])
def kind(request: pytest.FixtureRequest) -> str:
    """The way to the channel. Tests of one way name it."""
    return str(request.param)


_numbers = count(1)


@pytest.fixture
async def plane(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Plane]:
    """A control plane's hand, on a store of its own, with an application that no other test has."""
    app = f"pay{next(_numbers)}"
    store: Store
    if kind == "sqlite":
        store, base = SqliteStore(folder / "herz.db"), "herz+sqlite:///herz.db"
    elif kind == "etcd":
        server = request.getfixturevalue("etcd")
        store, base = EtcdStore(server.endpoints), f"herz+etcd://{server.endpoint}"
    else:
        served = request.getfixturevalue("served")
        store, base = SqliteStore(served.store.removeprefix("sqlite:///")), served.source
    plane = Plane(store, app)
    plane.base = base
    yield plane
    await store.close()


@pytest.fixture(scope="session")
def plane_at() -> Callable[[Store], Plane]:
    """A control plane's hand on a store, for the application `pay`."""
    return Plane


@pytest.fixture
def plane_of() -> Callable[[Path], Plane]:
    """A control plane's hand on the embedded store in a file, for the application `pay`."""
    return lambda file: Plane(SqliteStore(file))


@pytest.fixture
def url(plane: Plane) -> Callable[..., str]:
    """The URL of a source that follows the plane as an instance of a name, with options."""

    def made(instance: str = "one", **options: str) -> str:
        query = urlencode({"instance": instance, **options})
        if plane.base.startswith("herz+sqlite"):
            return f"{plane.base}?{query}#{plane.app}"
        return f"{plane.base}/{plane.app}?{query}"

    return made
