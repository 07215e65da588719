"""The etcd store keeps the contract of every store, on real servers of two versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from herz.store.etcd.store import EtcdStore
from herz.testing.etcd_cluster import EtcdCluster, EtcdPrograms, EtcdServer
from herz.testing.store_contract import StoreContract


def running(version: str, size: int = 1) -> Iterator[EtcdCluster]:
    if not EtcdPrograms.available(version):
        pytest.skip(f"no etcd {version}: tools/servers installs it")
    # No progress notice comes by itself, as with the servers' default of ten minutes.
    with EtcdCluster(size, version=version, progress_interval_s=600) as cluster:
        yield cluster


class EtcdContract(StoreContract):
    """Two stores in one process that share nothing but the server."""

    @pytest.fixture
    async def store(self, cluster: EtcdCluster) -> AsyncIterator[EtcdStore]:
        store = EtcdStore(cluster.endpoints, proof_s=0.5)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, cluster: EtcdCluster) -> AsyncIterator[EtcdStore]:
        other = EtcdStore(cluster.endpoints[::-1], proof_s=0.5)
        yield other
        await other.close()


class TestEtcd34(EtcdContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[EtcdCluster]:
        yield from running("3.4")


@pytest.mark.slow
class TestEtcd35(EtcdContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[EtcdCluster]:
        yield from running("3.5")


@pytest.mark.slow
class TestEtcdOfThreeMembers(EtcdContract):
    """One client talks to the first member, the other to the last; at least one of the two is a follower."""

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[EtcdCluster]:
        yield from running("3.4", 3)


@pytest.mark.slow
class TestEtcdThatSendsProgressItself(EtcdContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[EtcdCluster]:
        if not EtcdPrograms.available():
            pytest.skip("no etcd: tools/servers installs it")
        with EtcdServer(progress_interval_s=0.1) as server:
            yield server
