"""What listeners hear around a refused revision: every other one once and in order, and what comes late says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from herz import BuildError, ChangeSet, Herz, MappingSource
from herz.store.journal import Journal
from herz.store.sqlite import SqliteStore

LIMIT_S = 10.0


@dataclass(frozen=True)
class Pool:
    size: int = 1


class Flaky:
    """Cannot be built from a size that is a multiple of three, while it is `refusing`."""

    refusing = True

    def __init__(self, pool: Pool) -> None:
        self.size = pool.size
        if Flaky.refusing and pool.size % 3 == 0:
            raise RuntimeError("three is too many")


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_revisions_that_waited_beside_a_refused_one_are_each_heard() -> None:
    source = MappingSource({"pool.size": 1}, "memory")
    Flaky.refusing = True
    herz = Herz(source, environment={})
    herz.properties("pool")(Pool)
    herz.refresh_scope(eager=True)(Flaky)
    heard: list[ChangeSet] = []
    herz.on_change()(heard.append)
    with herz:
        herz.wait_for(lambda _: herz.state == "WATCHING", LIMIT_S)
        source.update({"pool.size": 3})
        herz.wait_for(lambda _: herz.health().freshness == "REFUSED", LIMIT_S)
        herz.freeze()
        written = [source.update({"pool.size": 4})]  # the one that mends it
        written += [source.update({"other.n": number}) for number in range(4)]
        feed = herz.runtime.feeds[0]
        eventually(lambda: feed.waiting >= len(written))
        herz.thaw()
        eventually(lambda: bool(heard) and heard[-1].revision == written[-1])
        assert [changes.revision for changes in heard] == written
        assert not any(changes.reset for changes in heard)


async def test_a_refused_revision_that_comes_into_force_after_newer_ones_is_marked(folder: Path) -> None:
    pay = Journal(SqliteStore("herz.db"), "pay")
    await pay.set({"pool.size": 1}, author="a")
    Flaky.refusing = True
    herz = Herz("sqlite:///herz.db#pay", environment={})
    herz.properties("pool")(Pool)
    herz.refresh_scope(eager=True)(Flaky)
    heard: list[ChangeSet] = []
    herz.on_change()(heard.append)
    async with herz:
        await pay.set({"pool.size": 6}, author="a")
        await herz.await_for(lambda _: isinstance(herz.runtime.feeds[0].error, BuildError), LIMIT_S)
        newer = await pay.set({"other.n": 1}, author="a")
        await herz.await_for(lambda snapshot: snapshot.get("other.n") == "1", LIMIT_S)
        Flaky.refusing = False
        await herz.await_for(lambda snapshot: snapshot["pool.size"] == "6", LIMIT_S)
        eventually(lambda: len(heard) == 2)
        assert [(changes.revision, changes.reset) for changes in heard] == [(newer, False), (newer, True)]
        assert [change.key for change in heard[1].changes] == ["pool.size"]


async def test_a_refused_revision_that_is_the_newest_comes_into_force_as_itself(folder: Path) -> None:
    pay = Journal(SqliteStore("herz.db"), "pay")
    await pay.set({"pool.size": 1}, author="a")
    Flaky.refusing = True
    herz = Herz("sqlite:///herz.db#pay", environment={})
    herz.properties("pool")(Pool)
    herz.refresh_scope(eager=True)(Flaky)
    heard: list[ChangeSet] = []
    herz.on_change()(heard.append)
    async with herz:
        refused = await pay.set({"pool.size": 6}, author="a")
        await herz.await_for(lambda _: isinstance(herz.runtime.feeds[0].error, BuildError), LIMIT_S)
        Flaky.refusing = False
        await herz.await_for(refused, LIMIT_S)
        eventually(lambda: len(heard) == 1)
        assert [(changes.revision, changes.reset) for changes in heard] == [(refused, False)]
