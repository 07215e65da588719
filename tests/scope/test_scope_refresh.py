"""A refresh rebuilds exactly what the change reaches, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from herz.errors import BindingError, BuildError
from herz.live.binding import RestartOnly


@dataclass
class Db:
    url: str = "db"
    timeout: timedelta = timedelta(seconds=3)


@dataclass
class Http:
    retries: int = 3


class Closing:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Pool(Closing):
    def __init__(self, config: Db) -> None:
        super().__init__()
        if config.url == "bad":
            raise ValueError("cannot connect")
        self.config = config


class Client(Closing):
    def __init__(self, config: Http) -> None:
        super().__init__()
        self.config = config


class Service(Closing):
    def __init__(self, pool: Pool, client: Client, name: str = "service") -> None:
        super().__init__()
        self.pool, self.client, self.name = pool, client, name


@pytest.fixture
def scope(driver: Any) -> Any:
    scope = driver.scope
    scope.declare_properties(Db, "db")
    scope.declare_properties(Http, "http")
    for one in (Pool, Client, Service):
        scope.declare(one, grace_s=0.0)
    return scope


async def test_only_what_the_change_reaches_is_rebuilt(driver: Any, scope: Any) -> None:
    await driver.open({"db": {"url": "a"}, "http": {"retries": 1}})
    service, pool, client = scope.get(Service), scope.get(Pool), scope.get(Client)
    report = await driver.refresh({"db": {"url": "b"}, "http": {"retries": 1}})
    assert report.rebuilt == ("Pool", "Service")
    assert report.kept == ("Client",)
    assert report.bindings == ("Db at db",)
    assert scope.get(Client) is client
    assert scope.get(Pool) is not pool
    assert scope.get(Service).pool is scope.get(Pool)
    assert scope.get(Service).client is client is service.client


async def test_replaced_objects_are_closed_those_built_of_others_first(driver: Any, scope: Any, until: Any) -> None:
    await driver.open({"db": {"url": "a"}})
    service, pool, client = scope.get(Service), scope.get(Pool), scope.get(Client)
    await driver.refresh({"db": {"url": "b"}})
    await until(lambda: pool.closed)
    assert (service.closed, pool.closed, client.closed) == (1, 1, 0)


async def test_another_spelling_of_the_same_value_rebuilds_nothing(driver: Any, scope: Any) -> None:
    await driver.open({"db": {"timeout": "3s"}})
    pool = scope.get(Pool)
    report = await driver.refresh({"db": {"timeout": "3000ms"}})
    assert report.rebuilt == ()
    assert report.bindings == ()
    assert scope.get(Pool) is pool
    assert scope.snapshot["db.timeout"] == "3000ms"


async def test_a_factory_that_raises_leaves_the_old_generation_untouched(driver: Any, scope: Any) -> None:
    await driver.open({"db": {"url": "a"}, "http": {"retries": 1}})
    service, client = scope.get(Service), scope.get(Client)
    with pytest.raises(BuildError, match=r"Pool could not be built: ValueError: cannot connect"):
        await driver.refresh({"db": {"url": "bad"}, "http": {"retries": 2}})
    assert scope.get(Service) is service
    assert scope.get(Client) is client
    assert scope.get(Http).retries == 1
    assert scope.snapshot["db.url"] == "a"
    assert client.closed == 0


async def test_all_problems_of_the_first_binding_are_told_together(driver: Any, scope: Any) -> None:
    with pytest.raises(BindingError) as raised:
        await driver.open({"db": {"timeout": "soon"}, "http": {"retries": "many"}})
    assert len(raised.value.problems) == 2


async def test_a_refresh_that_reaches_no_binding_exchanges_the_snapshot_only(driver: Any, scope: Any) -> None:
    await driver.open({"other": 1})
    objects = scope.current.objects
    report = await driver.refresh({"other": 2})
    assert report.rebuilt == report.bindings == ()
    assert scope.current.objects is objects
    assert scope.snapshot["other"] == 2


async def test_tiny_steps_add_up_to_a_change(driver: Any, scope: Any) -> None:
    """Tolerance is not transitive: each step is compared with the value that the object was built from."""

    class Rates(BaseModel):
        rate: float = 1.5

    class Priced:
        def __init__(self, rates: Rates) -> None:
            self.rate = rates.rate

    scope.declare_properties(Rates, "rates")
    scope.declare(Priced)
    await driver.open({"rates": {"rate": 1.5}})
    scope.get(Priced)
    rebuilt = 0
    for step in range(1, 51):
        rebuilt += len((await driver.refresh({"rates": {"rate": 1.5 + step * 1e-10}})).rebuilt)
    assert rebuilt == 3
    assert abs(scope.get(Priced).rate - (1.5 + 50e-10)) <= 1.5e-9


async def test_a_restart_only_field_is_held_and_reported_until_it_is_taken_back(driver: Any, scope: Any) -> None:
    @dataclass
    class Server:
        port: Annotated[int, RestartOnly] = 80
        name: str = "a"

    scope.declare_properties(Server, "server")
    await driver.open({"server": {"port": 80, "name": "a"}})
    report = await driver.refresh({"server": {"port": 81, "name": "b"}})
    assert (scope.get(Server).port, scope.get(Server).name) == (80, "b")
    assert report.waiting == ("server.port",)
    server = scope.get(Server)
    assert (await driver.refresh({"server": {"port": 82, "name": "b"}})).waiting == ("server.port",)
    assert (await driver.refresh({"other": 1, "server": {"port": 82, "name": "b"}})).waiting == ("server.port",)
    assert scope.get(Server) is server
    assert (await driver.refresh({"server": {"port": 80, "name": "b"}})).waiting == ()


async def test_an_unknown_key_is_reported_for_as_long_as_it_is_there(driver: Any, scope: Any) -> None:
    report = await driver.open({"http": {"retires": 5}})
    assert "did you mean" in report.unknown[0]
    assert (await driver.refresh({"http": {"retires": 5}, "other": 1})).unknown == report.unknown
    assert (await driver.refresh({"http": {"retries": 5}})).unknown == ()


async def test_a_leaf_that_becomes_a_table_reaches_what_is_bound_below_it(driver: Any) -> None:
    scope = driver.scope
    scope.declare_properties(Db, "a.b.db")
    await driver.open({"A": 1})
    await driver.refresh({"A": {"B": {"DB": {"url": "deep"}}}})
    assert scope.get(Db).url == "deep"
    await driver.refresh({})
    assert scope.get(Db).url == "db"


async def test_without_events_everything_is_looked_at(driver: Any, scope: Any) -> None:
    await driver.open({"db": {"url": "a"}})
    scope.get(Service)
    snapshot, _ = driver.next({"db": {"url": "b"}})
    report = await (await scope.prepare(snapshot)).commit()
    assert report.rebuilt == ("Pool", "Service")


async def test_what_is_declared_and_alive_can_be_described(driver: Any, scope: Any) -> None:
    await driver.open({"db": {"url": "a"}})
    scope.get(Service)
    with scope.pin(), scope.lease(Pool):
        await driver.refresh({"db": {"url": "b"}})
        told = scope.describe()
    scoped = {one["provides"]: one for one in told["scoped"]}
    assert scoped["Service"]["depends_on"] == ["Pool", "Client"]
    assert scoped["Service"]["generation"] == 2
    assert scoped["Client"]["generation"] == 1
    assert {one["provides"] for one in told["draining"]} == {"Pool", "Service"}
    held = {one["provides"]: one["held_by"] for one in told["draining"]}
    assert len(held["Pool"]) == 2
    assert "test_what_is_declared_and_alive" in held["Pool"][0]
    assert told["generations"][0]["state"] == "pinned"
