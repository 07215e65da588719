from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from herz import Herz, MappingSource
from herz.actuator.endpoints import Endpoints, respond
from herz.store.sqlite import SqliteStore

EXPOSED = "management.endpoints.web.exposure.include: [refresh]\n"
DETAILS = "management.endpoint.refresh.show-details: {}\n"


def posted(herz: Herz, authorized: bool = False) -> Any:
    response = respond(herz, "POST", "/refresh", authorized=authorized)
    return response.status, json.loads(response.body)


def test_it_looks_and_answers_with_the_changed_keys_in_order_though_nothing_is_watched(configured):
    with configured.herz(EXPOSED, "z: 1\na: {b: 1, c: 1}") as herz:
        configured.write(EXPOSED, "z: 2\na: {b: 2, c: 1, d: 1}")
        assert posted(herz) == (200, ["a.b", "a.d", "z"])
        assert herz.snapshot["a.b"] == 2


def test_nothing_changed_is_an_empty_array(configured):
    with configured.herz(EXPOSED) as herz:
        assert posted(herz) == (200, [])


def test_a_difference_in_writing_alone_changes_nothing(configured):
    with configured.herz(EXPOSED, "a: 1000") as herz:
        configured.write(EXPOSED, "# the same\na: 1000.0")
        assert posted(herz) == (200, [])


def test_details_tell_what_was_rebuilt_and_what_stayed(configured):
    herz = configured.herz(EXPOSED, DETAILS.format("always"), "first.a: 1\nsecond.a: 1")

    @herz.properties("first")
    @dataclass
    class First:
        a: int = 0

    @herz.properties("second")
    @dataclass
    class Second:
        a: int = 0

    @herz.refresh_scope(eager=True)
    class Touched:
        def __init__(self, config: First) -> None:
            self.a = config.a

    @herz.refresh_scope(eager=True)
    class Untouched:
        def __init__(self, config: Second) -> None:
            self.a = config.a

    with herz:
        configured.write(EXPOSED, DETAILS.format("always"), "first.a: 2\nsecond.a: 1")
        status, body = posted(herz)
        assert status == 200
        assert body["changed"] == ["first.a"]
        assert (body["rebuilt"], body["kept"]) == (["Touched"], ["Untouched"])
        assert body["generation"] == herz.snapshot.generation == 2
        assert body["fingerprint"] == herz.snapshot.fingerprint
        assert body["duration_ms"] > 0
        assert body["sources"][0]["revision"] == 2
        assert herz.get(Touched).a == 2


@pytest.mark.parametrize(
    ("said", "authorized", "shape"),
    [
        ("always", False, dict),
        ("never", True, list),
        ("when-authorized", False, list),
        ("when-authorized", True, dict),
    ],
)
def test_show_details_decides_the_shape(configured, said, authorized, shape):
    with configured.herz(EXPOSED, DETAILS.format(said)) as herz:
        assert type(posted(herz, authorized)[1]) is shape


def test_a_refused_document_is_a_problem_with_what_where_and_remedy(configured):
    herz = configured.herz(EXPOSED, "service.timeout: 3")

    @herz.properties("service")
    @dataclass
    class Service:
        timeout: int = 1

    with herz:
        configured.write(EXPOSED, "service.timeout: soon")
        response = respond(herz, "POST", "/refresh")
        assert response.status == 422
        assert dict(response.headers)["content-type"] == "application/problem+json"
        body = json.loads(response.body)
        assert (body["status"], body["type"]) == (422, "urn:herz:problem:refused")
        assert "service.timeout" in body["detail"]
        assert "application.yml:" in body["detail"]
        lines = configured.file.read_text().splitlines()
        assert body["where"].endswith(f"application.yml:{lines.index('service.timeout: soon') + 1}")
        assert (body["changed"], body["generation"]) == ([], 1)
        assert herz.get(Service).timeout == 3


def test_a_problem_never_carries_the_secret_that_caused_it(configured):
    herz = configured.herz(EXPOSED, "db: {password: hunter2-hunter2, pool: 5}")

    @herz.properties("db")
    @dataclass
    class Db:
        password: int | str = ""
        pool: int = 1

    @herz.refresh_scope(eager=True)
    class Pool:
        def __init__(self, config: Db) -> None:
            if config.pool == 6:
                raise RuntimeError(f"cannot connect with postgres://me:geheim@db/x and {config.password}")

    with herz:
        configured.write(EXPOSED, "db: {password: hunter2-hunter2, pool: 6}")
        response = respond(herz, "POST", "/refresh")
        assert response.status == 422
        assert b"could not be built" in response.body
        assert b"hunter2" not in response.body
        assert b"geheim" not in response.body


def test_a_frozen_configuration_conflicts(configured):
    with configured.herz(EXPOSED) as herz:
        herz.freeze()
        status, body = posted(herz)
    assert (status, body["type"]) == (409, "urn:herz:problem:frozen")
    assert "thaw" in body["remedy"]


def test_a_file_that_is_gone_is_refused(configured):
    with configured.herz(EXPOSED) as herz:
        configured.file.unlink()
        status, body = posted(herz)
    assert (status, body["type"]) == (422, "urn:herz:problem:refused")
    assert "application.yml" in body["detail"]


def test_a_source_that_cannot_be_read_is_unavailable_and_the_others_are_refreshed(configured):
    store = configured.folder / "store.db"
    address = f"sqlite:///{store}#app"

    async def create() -> None:
        made = SqliteStore(store)
        await made.put("/config/app/from", b"store")
        await made.close()

    asyncio.run(create())
    with configured.herz(EXPOSED, "a: 1", more=[address]) as herz:
        assert herz.snapshot["from"] == "store"
        for name in ("store.db", "store.db-wal"):  # the -shm is mapped memory: who truncates that ends the process
            (configured.folder / name).write_bytes(b"overwritten" * 1000)
        configured.write(EXPOSED, "a: 2")
        status, body = posted(herz)
        assert (status, body["type"]) == (503, "urn:herz:problem:source-unavailable")
        assert "store.db" in body["detail"]
        assert herz.snapshot["a"] == 2


class Slow(MappingSource):
    """A source whose look takes until it is told to go on; it counts the looks."""

    def __init__(self) -> None:
        super().__init__({})
        self.go = threading.Event()
        self.looks = 0

    async def rescan(self):
        self.looks += 1
        await asyncio.to_thread(self.go.wait, 10)
        return await super().rescan()


async def test_requests_that_come_while_one_refresh_runs_share_the_next(configured):
    slow = Slow()
    async with configured.herz(more=[slow]) as herz:
        endpoints = Endpoints(herz)
        first = asyncio.create_task(endpoints.refresh(False))
        await configured.auntil(lambda: slow.looks == 1)
        rest = [asyncio.create_task(endpoints.refresh(False)) for _ in range(50)]
        await asyncio.sleep(0)
        rest[0].cancel()
        slow.go.set()
        answers = await asyncio.gather(first, *rest[1:])
        assert {answer.status for answer in answers} == {200}
        assert slow.looks == 2
        with pytest.raises(asyncio.CancelledError):
            await rest[0]


async def test_a_refresh_does_not_block_the_applications_loop(configured):
    slow = Slow()
    async with configured.herz(EXPOSED, more=[slow]) as herz, configured.client(herz.actuator()) as http:
        waiting = asyncio.create_task(http.post("/refresh"))
        await configured.auntil(lambda: slow.looks == 1)
        for _ in range(10):
            assert (await http.get("/nothing")).status_code == 404
        assert not waiting.done()
        slow.go.set()
        assert (await waiting).status_code == 200


async def test_a_stop_during_a_refresh_answers_503_and_does_not_hang(configured):
    slow = Slow()
    herz = configured.herz(EXPOSED, more=[slow])
    async with herz:
        endpoints = Endpoints(herz)
        waiting = [asyncio.create_task(endpoints.refresh(False)) for _ in range(3)]
        threads = [asyncio.create_task(asyncio.to_thread(respond, herz, "POST", "/refresh")) for _ in range(3)]
        await configured.auntil(lambda: slow.looks >= 1)
        stopping = asyncio.create_task(herz.astop())
        await configured.auntil(lambda: herz.scope.stopped)
        slow.go.set()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*waiting, *threads)
            await stopping
    assert {answer.status for answer in answers} <= {200, 503}  # 200: it was done before the end
    assert endpoints.refreshing._running is None
    assert (await endpoints.refresh(False)).status == 503


def test_the_refresh_limit_answers_504_and_lets_it_go_on(configured, monkeypatch):
    monkeypatch.setattr("herz.actuator.refreshing.LIMIT_S", 0.1)
    slow = Slow()
    with configured.herz(EXPOSED, more=[slow]) as herz:
        status, body = posted(herz)
        assert (status, body["type"]) == (504, "urn:herz:problem:slow")
        slow.go.set()


def test_a_crash_in_a_source_is_a_500_without_details(configured, caplog):
    class Broken(MappingSource):
        async def rescan(self):
            raise ZeroDivisionError("with internals")

    with configured.herz(EXPOSED, more=[Broken({})]) as herz:
        response = respond(herz, "POST", "/refresh")
    assert response.status == 500
    assert b"internals" not in response.body
    assert "with internals" in caplog.text
