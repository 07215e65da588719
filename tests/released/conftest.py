"""A source in memory that prepares what it will hand on, a control plane without a server, and patience."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from herz.model.document import Batch, Document, Event, Reset
from herz.model.tree import differences
from herz.sources.base import Prepare, Running
from herz.sources.mapping import MappingSource

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
    """`prepare` a mapping, then `commit` it; `running` and `graph` are what Herz attached."""

    running: Callable[[], Running]
    graph: Callable[[], Mapping[str, Any]]
    ahead: Document | None = None
    told = 0

    def attach(self, running: Callable[[], Running], graph: Callable[[], Mapping[str, Any]]) -> None:
        self.running, self.graph = running, graph

    def moved(self) -> None:
        self.told += 1

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
