"""Reports: taken from whom they are about, kept as long as the instance is connected, seen by every server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from herz.release.record import decode
from herz.server import batches
from herz.server.registered import Registered, skew_s
from herz.server.twins import REMEMBERED_S
from herz.store.etcd.store import EtcdStore
from herz.store.plane import report_key
from herz.testing.fault_proxy import FaultProxy

KEY = report_key("pay", "default", "i1")


def version(server):
    """The release that the hub has i1 run."""
    report = server.hub.namespace("pay", "default").reports.get("i1")
    return None if report is None else report.value.config_version


def lease(server):
    """What i1's report hangs on."""
    report = server.hub.namespace("pay", "default").reports.get("i1")
    return None if report is None else report.lease


async def reported(server, http, name="i1"):
    async with http.get(f"{server.url}/api/v1/apps/pay/namespaces/default/instances/{name}") as said:
        return await said.json() if said.status == 200 else None


async def test_a_report_is_seen_by_everybody(open_store, serving, follow, eventually, http):
    async with serving(open_store()) as server, serving(open_store()) as other:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        assert await client.say(config_version=7, labels={"zone": "eu"}) == 204
        for one in (server, other):
            await eventually(lambda one=one: "i1" in one.hub.namespace("pay", "default").reports)
            found = await reported(one, http)
            assert (found["config_version"], found["labels"]) == (7, {"zone": "eu"})


async def test_a_report_hangs_on_the_servers_lease(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        await client.say()
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        assert (await store.get(KEY)).lease == server.fleet.lease.current


async def test_a_report_without_the_streams_own_session_is_refused(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        client, other = follow(server, "i1"), follow(server, "i2")
        await eventually(lambda: client.of("state") and other.of("state"))
        for session in ("", "0" * 32, other.session):
            assert await client.say(session) == 409
        assert await store.get(KEY) is None
    await store.close()


async def test_an_old_stream_of_a_restarted_instance_reports_no_more(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        before = follow(server, "i1")
        await eventually(lambda: before.of("state"))
        after = follow(server, "i1")
        await eventually(lambda: after.of("state"))
        assert await before.say() == 409
        assert await after.say() == 204
    await store.close()


NO_REPORTS = (
    {"instance": "i2"},
    {"app": "book"},
    {"namespace": "eu"},
    {"time": "2026-01-01T00:00:00"},
    {"error": "x" * 5000},
    {"status": "DANCING"},
    {"labels": {"a": 1}},
    {"generation": "many"},
)


async def test_a_report_that_is_none_is_refused(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        for changes in NO_REPORTS:
            assert await client.say(**changes) in (400, 422), changes
        assert await store.get(KEY) is None
    await store.close()


async def test_the_server_notes_its_own_time_beside_a_clock_that_is_wrong(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        ahead = datetime.now(UTC) + timedelta(days=3)
        assert await client.say(time=ahead.isoformat()) == 204
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        found = decode((await store.get(KEY)).value, Registered, KEY)
        assert skew_s(found) == pytest.approx(3 * 86400, abs=60)
        assert found.server == server.delivery.shown.server
    await store.close()


@pytest.mark.slow
async def test_a_report_outlives_its_connection_by_its_time_and_no_longer(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(store, ttl_s=2.0) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        await client.say()
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        left_at = asyncio.get_running_loop().time()
        await client.stop()
        await eventually(lambda: "i1" not in server.hub.namespace("pay", "default").reports)
        assert asyncio.get_running_loop().time() - left_at > 1.5


async def test_an_instance_that_comes_back_in_time_keeps_its_report(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store, ttl_s=0.5) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        await client.say()
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        revision = (await store.get(KEY)).create_revision
        await client.stop()
        await eventually(lambda: server.delivery.connected == 0)
        back, other = follow(server, "i1"), follow(server, "i2")
        await eventually(lambda: back.of("state") and other.of("state"))
        await other.say()
        await eventually(lambda: "i2" in server.hub.namespace("pay", "default").reports)
        await other.stop()
        await eventually(lambda: "i2" not in server.hub.namespace("pay", "default").reports)  # its time is over, later
        assert (await store.get(KEY)).create_revision == revision
    await store.close()


@pytest.mark.slow
async def test_an_instance_that_went_to_another_server_is_not_deleted_by_the_first(
    open_store, serving, follow, eventually
):
    store = open_store()
    async with serving(open_store(), ttl_s=2.0) as first, serving(open_store(), ttl_s=30.0) as second:
        client, stays = follow(first, "i1"), follow(first, "i2")
        await eventually(lambda: client.of("state") and stays.of("state"))
        await client.say()
        await stays.say()
        await eventually(lambda: len(second.hub.namespace("pay", "default").reports) == 2)
        await client.stop()
        moved = follow(second, "i1")
        await eventually(lambda: moved.of("state"))
        assert await moved.say(config_version=9) == 204
        await eventually(lambda: version(first) == 9)
        created = (await store.get(KEY)).create_revision
        await stays.stop()
        await eventually(lambda: "i2" not in first.hub.namespace("pay", "default").reports)  # later than i1's time
        found = await store.get(KEY)
        assert (found.create_revision, found.lease) == (created, second.fleet.lease.current)


async def test_reports_are_written_again_when_the_lease_was_lost(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(store, ttl_s=90.0) as server:  # the next sign of life would find it out too late
        clients = [follow(server, f"i{number}") for number in range(20)]
        await eventually(lambda: all(client.of("state") for client in clients))
        for client in clients:
            assert await client.say() == 204
        await eventually(lambda: len(server.hub.namespace("pay", "default").reports) == 20)
        old = server.fleet.lease.current
        await store.revoke(old)
        await eventually(lambda: server.fleet.lease.current not in (None, old))
        await eventually(
            lambda: (
                len(reports := server.hub.namespace("pay", "default").reports) == 20
                and all(one.lease == server.fleet.lease.current for one in reports.values())
            )
        )


async def test_reports_move_to_a_new_lease_before_the_old_one_ends(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(store, ttl_s=90.0) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        await client.say()
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        before = await store.get(KEY)
        server.fleet.lease.gone(before.lease)  # counted as lost here, and the store does not know that yet
        await eventually(lambda: lease(server) not in (None, before.lease))
        after = await store.get(KEY)
        assert (after.create_revision, after.lease) == (before.create_revision, server.fleet.lease.current)


async def test_a_report_that_waits_is_not_written_over_that_of_another_server(
    sqlite, serving, follow, eventually, monkeypatch
):
    store, other_store = sqlite(), sqlite()
    async with serving(store) as first, serving(other_store) as second:
        client = follow(first, "i1")
        await eventually(lambda: client.of("state"))
        monkeypatch.setattr(batches, "GATHER_S", 1.0)
        await client.say(config_version=1)
        await eventually(first.fleet._batches._some.is_set)
        await asyncio.sleep(0)  # its batch has begun to gather
        monkeypatch.setattr(batches, "GATHER_S", 0.0)
        await client.stop()
        await eventually(lambda: first.delivery.connected == 0)
        moved = follow(second, "i1")
        await eventually(lambda: moved.of("state"))
        await moved.say(config_version=2)
        await eventually(lambda: "i1" in second.hub.namespace("pay", "default").reports)
        await eventually(lambda: not first.fleet._batches._some.is_set())  # the first has written what it would
        assert second.hub.namespace("pay", "default").reports["i1"].value.config_version == 2
        assert (await store.get(KEY)).version == 1
    await store.close()
    await other_store.close()


async def test_a_server_that_stops_leaves_its_reports_to_the_next(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(open_store()) as first:
        client = follow(first, "i1")
        await eventually(lambda: client.of("state"))
        await client.say(config_version=1)
        await eventually(lambda: "i1" in first.hub.namespace("pay", "default").reports)
    before = await store.get(KEY)
    assert before is not None
    async with serving(open_store()) as second:
        moved = follow(second, "i1")
        await eventually(lambda: moved.of("state"))
        await moved.say(config_version=1)
        await eventually(lambda: lease(second) not in (None, before.lease))
        assert (await store.get(KEY)).create_revision == before.create_revision, "it was there all the time"


async def test_what_is_reported_while_the_store_is_away_is_written_when_it_is_back(serving, follow, eventually, etcd):
    direct = EtcdStore([etcd.endpoint])
    await direct.delete_prefix("/herz/")
    with FaultProxy(etcd.endpoint) as proxy:
        store = EtcdStore([proxy.address])
        async with serving(store) as server:
            client, later = follow(server, "i1"), follow(server, "i2")
            await eventually(lambda: client.of("state") and later.of("state"))
            await client.say(config_version=1)
            await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
            await asyncio.to_thread(proxy.refuse)
            assert await client.say(config_version=2) == 204
            assert await later.say(config_version=2) == 204
            await direct.revoke(server.fleet.lease.current)  # meanwhile everything is lost
            await asyncio.to_thread(proxy.heal)
            await eventually(
                lambda: (
                    [one.value.config_version for one in server.hub.namespace("pay", "default").reports.values()]
                    == [2, 2]
                ),
                30,
            )
        await store.close()
    await direct.close()


async def test_reports_that_come_together_are_written_together(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(store) as server:
        clients = [follow(server, f"i{number}") for number in range(100)]
        await eventually(lambda: all(client.of("state") for client in clients))
        before = server.delivery.counts.batches
        assert set(await asyncio.gather(*(client.say() for client in clients))) == {204}
        await eventually(lambda: len(server.hub.namespace("pay", "default").reports) == 100)
        assert server.delivery.counts.batches - before < 50


async def test_instances_are_found_by_what_they_are(sqlite, serving, follow, eventually, http, publisher):
    store = sqlite()
    async with serving(store) as server:
        publish = publisher(store)
        ref = await publish.release("a: 1\n")
        await publish.assign("b", "i2")
        clients = [follow(server, f"i{number}") for number in range(4)]
        await eventually(lambda: all(client.running == 1 for client in clients))
        good = {"config_version": 1, "fingerprint": ref.fingerprint}
        await clients[0].say(**good, labels={"zone": "eu"})
        await clients[1].say(**good, labels={"zone": "us"}, patch_id="p1")
        await clients[2].say(**good)
        await clients[3].say(config_version=1, status="FAILED", error="<script>alert(1)</script>")
        await eventually(lambda: len(server.hub.namespace("pay", "default").reports) == 4)

        async def names(query):
            async with http.get(f"{server.url}/api/v1/apps/pay/namespaces/default/instances?{query}") as said:
                assert said.status == 200, await said.text()
                return [one["instance"] for one in await said.json()]

        assert await names("") == ["i0", "i1", "i2", "i3"]
        assert await names("label=zone%3Deu") == ["i0"]
        assert await names("patch_id=p1") == ["i1"]
        assert await names("cohort=b") == ["i2"]
        assert await names("status=FAILED") == ["i3"]
        assert await names("differs=true") == ["i3"]
        assert await names("differs=false&release=1") == ["i0", "i1", "i2"]
        assert await names("after=i1&limit=1") == ["i2"]
    await store.close()


async def test_a_graph_is_kept_once_under_what_it_says(sqlite, serving, http):
    from herz.release.report import Graph
    from herz.server.fleet import digest_of

    store = sqlite()
    async with serving(store) as server:
        body = {"properties": {"Config": "db"}, "objects": {"Pool": ["Config"]}}
        digest = digest_of(Graph(properties={"Config": "db"}, objects={"Pool": ("Config",)}))
        for address, status in ((digest, 204), (digest, 204), (f"sha256:{'0' * 64}", 400)):
            async with http.put(f"{server.url}/api/v1/graphs/{address}", json=body) as said:
                assert said.status == status, await said.text()
        assert (await store.get(f"/herz/graphs/{digest.removeprefix('sha256:')}")).version == 1
    await store.close()


async def test_two_processes_of_one_name_are_found_out_and_prove_nothing(sqlite, serving, follow, eventually):
    async with serving(sqlite()) as server:
        mornings = ["2026-01-01T08:00:00Z", "2026-01-01T09:00:00Z"]

        def found():
            report = server.hub.namespace("pay", "default").reports.get("i1")
            return None if report is None else report.value

        for started in (*mornings, mornings[0]):  # the first one comes back: it was there all the time
            client = follow(server, "i1")
            await eventually(lambda client=client: client.of("state"))
            assert await client.say(started=started) == 204
            await eventually(lambda s=started: found() and found().started.isoformat()[:13] == s[:13])
        await eventually(lambda: found().status == "FAILED")
        assert "two processes are called i1" in found().error
        server.clock.ahead_s = REMEMBERED_S + 1
        await client.say(started=mornings[0], config_version=2)
        await eventually(lambda: found().status == "APPLIED")


async def test_a_process_that_was_started_again_is_no_second_one(sqlite, serving, follow, eventually):
    async with serving(sqlite()) as server:
        for hour in (8, 9, 10):
            client = follow(server, "i1")
            await eventually(lambda client=client: client.of("state"))
            assert await client.say(started=f"2026-01-01T{hour:02}:00:00Z", config_version=hour) == 204
            await eventually(lambda hour=hour: version(server) == hour)
        assert server.hub.namespace("pay", "default").reports["i1"].value.status == "APPLIED"
