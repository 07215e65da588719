"""A real ZooKeeper server for the quick tests, a writer to it, and a path of its own for each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from kazoo.client import KazooClient

from herz.model.document import Progress
from herz.sources.base import Item
from herz.sources.zookeeper import ZookeeperSource
from herz.testing.zookeeper import ZookeeperEnsemble

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[ZookeeperEnsemble]:
    with ZookeeperEnsemble() as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def zk(server: ZookeeperEnsemble) -> Iterator[KazooClient]:
    client = KazooClient(server.hosts)
    client.start(30)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def path(zk: KazooClient) -> str:
    found = f"/config/app{next(_numbers)}"
    zk.ensure_path(found)
    return found


@pytest.fixture
async def source(server: ZookeeperEnsemble, path: str) -> AsyncIterator[ZookeeperSource]:
    found = ZookeeperSource.from_url(f"zookeeper://{server.hosts}{path}?proof=1.5")
    yield found
    await found.close()


@pytest.fixture
def ahead(source: ZookeeperSource):
    """`async with ahead() as following`: the source is read and followed; `await following()` is the next news."""

    @asynccontextmanager
    async def reading(chosen: ZookeeperSource = source):
        document = await chosen.read()
        async with chosen.follow(document.revision) as items:

            async def news() -> Item:
                async with asyncio.timeout(20):
                    while isinstance(item := await anext(items), Progress):
                        pass
                    return item

            yield news

    return reading
