"""Instances that are not there: their reports, written as their server would write them."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from herz.release.record import encode
from herz.release.report import Ask, Graph, Report, Status
from herz.server.fleet import digest_of
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.registered import registered
from herz.store.base import Put, Txn
from herz.store.plane import graph_key, report_key

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def report(plane: Plane, instance: str, **facts: Any) -> Report:
    """A report of an instance that runs what it should, but for `facts`."""
    stable = plane.of(Hub).namespace("pay", "default").channel.stable.release
    runs = {} if stable is None else {"config_version": stable.number, "fingerprint": stable.fingerprint}
    given = {"status": Status.APPLIED, "time": NOW, **runs, **facts}
    return Report(instance=instance, app="pay", namespace="default", **given)


async def reported(plane: Plane, *reports: Report, age_s: float = 0.0) -> None:
    """The store and the hub have these reports."""
    lease = await plane.store.grant(600)
    received = NOW - timedelta(seconds=age_s)
    revision = 0
    for start in range(0, len(reports), 100):
        puts = [
            Put(
                report_key(one.app, one.namespace, one.instance),
                encode(registered(one, received, "server-1")),
                lease.id,
            )
            for one in reports[start : start + 100]
        ]
        revision = (await plane.store.txn(Txn(then=puts))).revision
    await seen(plane, reports[-1], revision)


async def seen(plane: Plane, last: Report, revision: int) -> None:
    """Wait until the hub has read it."""
    async with asyncio.timeout(5):
        while True:
            found = plane.of(Hub).namespace(last.app, last.namespace).reports.get(last.instance)
            if found is not None and found.revision >= revision:
                return
            await asyncio.sleep(0.002)


async def question(plane: Plane) -> Ask:
    """The next question that is asked."""
    async with asyncio.timeout(5):
        while True:
            asks = plane.of(Hub).namespace("pay", "default").asks.open
            if asks:
                return asks[0]
            await asyncio.sleep(0.002)


def cut(pattern: str, text: str) -> str:
    """The first part of a page that is like `pattern`: its group, where it has one."""
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None, pattern
    return found[found.re.groups]


async def graph(plane: Plane, **facts: Any) -> str:
    """The address of a graph that the store has."""
    made = Graph(**facts)
    await plane.store.put(graph_key(digest_of(made)), encode(made))
    return digest_of(made)
