"""Long-poll: the fallback where a proxy does not let streams through."""

from __future__ import annotations

import asyncio

PLACE = "/api/v1/apps/pay/namespaces/default"


async def poll(http, server, instance, query="", session=None):
    headers = {} if session is None else {"X-Herz-Stream": session}
    async with http.get(f"{server.url}{PLACE}/stream?instance={instance}&{query}", headers=headers) as said:
        assert said.status == 200, await said.text()
        assert said.content_type == "application/json"
        return await said.json()


async def test_what_there_is_comes_at_once(open_store, serving, http, publisher):
    store = open_store()
    await publisher(store).release("a: 1\n")
    async with serving(store) as server:
        said = await poll(http, server, "i1", "wait=30")
        assert [frame["type"] for frame in said] == ["hello", "content", "state", "alive"]


async def test_without_waiting_it_is_a_reading(open_store, serving, http, publisher):
    store = open_store()
    await publisher(store).release("a: 1\n")
    async with serving(store) as server:
        said = await poll(http, server, "i1", "wait=0")
        assert [frame["type"] for frame in said][:3] == ["hello", "content", "state"]


async def test_a_client_that_knows_everything_waits_for_the_next(open_store, serving, http, eventually, publisher):
    store = open_store()
    publish = publisher(store)
    ref = await publish.release("a: 1\n")
    async with serving(store) as server:
        first = await poll(http, server, "i1", "wait=10")
        query = f"wait=10&have={ref.digest}&after={first[-1]['revision']}"
        waiting = asyncio.create_task(poll(http, server, "i1", query, first[0]["stream"]))
        await eventually(lambda: server.delivery.connected)
        await publish.release("a: 2\n")
        said = await waiting
        assert [frame["type"] for frame in said][:3] == ["hello", "content", "state"]
        assert said[0]["stream"] == first[0]["stream"], "it goes on"


async def test_a_client_that_missed_a_release_in_between_is_told_at_once(open_store, serving, http, publisher):
    store = open_store()
    publish = publisher(store)
    ref = await publish.release("a: 1\n")
    async with serving(store) as server:
        first = await poll(http, server, "i1", "wait=10")
        await publish.release("a: 2\n")
        said = await poll(http, server, "i1", f"wait=30&have={ref.digest}&after={first[-1]['revision']}")
        assert [frame for frame in said if frame["type"] == "state"][-1]["pointer"]["release"]["number"] == 2


async def test_nothing_new_is_answered_when_the_time_is_over(sqlite, serving, http, publisher):
    store = sqlite()
    ref = await publisher(store).release("a: 1\n")
    async with serving(store) as server:
        first = await poll(http, server, "i1", "wait=10")
        said = await poll(http, server, "i1", f"wait=1&have={ref.digest}&after={first[-1]['revision']}")
        assert [frame["type"] for frame in said] == ["hello", "alive"]
    await store.close()


async def test_a_polling_client_reports_and_answers_between_two_polls(sqlite, serving, http, eventually, follow):
    from herz.release.report import Ask
    from herz.server.asks import Asking

    store = sqlite()
    async with serving(store) as server:
        first = await poll(http, server, "i1", "wait=0")
        session = first[0]["stream"]
        body = {
            "instance": "i1",
            "app": "pay",
            "namespace": "default",
            "status": "APPLIED",
            "time": "2026-01-01T00:00:00Z",
        }
        address = f"{server.url}{PLACE}/instances/i1/report"
        async with http.put(address, json=body, headers={"X-Herz-Stream": session}) as said:
            assert said.status == 204
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        asked = asyncio.create_task(server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1",), 10.0))
        said = await poll(http, server, "i1", f"wait=10&after={first[-1]['revision']}", session)
        (ask,) = [frame["ask"] for frame in said if frame["type"] == "ask"]
        answer = {"nonce": ask["nonce"], "instance": "i1", "report": body}
        address = f"{server.url}{PLACE}/asks/{ask['nonce']}/answers/i1"
        async with http.put(address, json=answer, headers={"X-Herz-Stream": session}) as put:
            assert put.status == 204
        assert list(await asked) == ["i1"]
        async with http.put(address, json=answer, headers={"X-Herz-Stream": "0" * 32}) as put:
            assert put.status == 409
    await store.close()


async def test_a_server_that_stops_answers_those_who_wait(sqlite, serving, http, eventually):
    store = sqlite()
    async with serving(store) as server:
        first = await poll(http, server, "i1", "wait=0")
        waiting = asyncio.create_task(poll(http, server, "i1", f"wait=30&after={first[-1]['revision']}"))
        await eventually(lambda: server.delivery.connected)
        server.plane.closing.set()
        assert (await asyncio.wait_for(waiting, 5))[-1]["type"] == "end"
    await store.close()
