"""The etcd store agrees with a model of revisions under random operations, on real servers of two versions."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from herz.store.base import Store
from herz.store.etcd.store import EtcdStore
from herz.testing.etcd_cluster import EtcdPrograms, EtcdServer
from herz.testing.store_laws import StoreMachine

LAWS = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip


class Etcd34Machine(StoreMachine):
    """A server for each run: the examples draw absolute revisions, so each must begin at the same one."""

    version: ClassVar[str] = "3.4"

    async def open(self) -> Store:
        self.server = await EtcdServer(version=self.version, progress_interval_s=600).__aenter__()
        return EtcdStore(self.server.endpoints, proof_s=2.0)

    async def close(self, store: Store) -> None:
        await store.close()
        await self.server.__aexit__(None, None, None)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "server"):
            self.server.close()


class Etcd35Machine(Etcd34Machine):
    version = "3.5"


@pytest.mark.slow
@pytest.mark.skipif(not EtcdPrograms.available("3.4"), reason="no etcd 3.4: tools/servers installs it")
class TestEtcd34Laws(Etcd34Machine.TestCase):  # type: ignore[misc, valid-type]
    settings = LAWS


@pytest.mark.slow
@pytest.mark.skipif(not EtcdPrograms.available("3.5"), reason="no etcd 3.5: tools/servers installs it")
class TestEtcd35Laws(Etcd35Machine.TestCase):  # type: ignore[misc, valid-type]
    settings = LAWS
