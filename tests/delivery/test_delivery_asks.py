"""Questions: asked through the store, answered from what runs now, and never by an old answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from herz.errors import Conflict
from herz.release.record import encode
from herz.release.report import Answer, Ask, AskKind, Asks, Report, Status
from herz.server.asks import OPEN, Asking
from herz.store.plane import answer_key, answers_prefix, asks_key

ASKS = asks_key("pay", "default")


def report(instance: str) -> Report:
    return Report(instance=instance, app="pay", namespace="default", status=Status.APPLIED, time=datetime.now(UTC))


def answering(client, **changes):
    """A task that answers every question a client hears."""

    async def run():
        answered = 0
        while True:
            for frame in client.of("ask")[answered:]:
                answered += 1
                await client.answer(frame["ask"]["nonce"], **changes)
            await asyncio.sleep(0.002)

    return asyncio.create_task(run())


async def test_instances_of_both_servers_answer(open_store, serving, follow, eventually):
    async with serving(open_store()) as server, serving(open_store()) as other:
        clients = [follow(server, "i1"), follow(other, "i2")]
        await eventually(lambda: all(client.of("state") for client in clients))
        tasks = [answering(client, config_version=5) for client in clients]
        found = await server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1", "i2"), 10.0)
        assert sorted(found) == ["i1", "i2"]
        assert {answer.report.config_version for answer in found.values()} == {5}
        for task in tasks:
            task.cancel()


async def test_an_instance_that_follows_the_store_itself_answers_there(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(open_store()) as server:
        asked = asyncio.create_task(server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("direct",), 10.0))
        await eventually(lambda: server.hub.namespace("pay", "default").asks.open)
        (ask,) = server.hub.namespace("pay", "default").asks.open
        answer = Answer(nonce=ask.nonce, instance="direct", report=report("direct"))
        await store.put(answer_key("pay", "default", ask.nonce, "direct"), encode(answer))
        assert list(await asked) == ["direct"]


async def test_question_and_answers_are_taken_away_afterwards(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(open_store()) as server, serving(open_store()) as other:
        client = follow(other, "i1")
        await eventually(lambda: client.of("state"))
        task = answering(client)
        await server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1",), 10.0)
        await eventually(lambda: not server.hub.namespace("pay", "default").asks.open)
        nonce = client.of("ask")[0]["ask"]["nonce"]
        assert (await store.range(answers_prefix("pay", "default", nonce))).entries == ()
        task.cancel()


async def test_who_does_not_answer_is_missing_after_the_window(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        answers, silent = follow(server, "i1"), follow(server, "i2")
        await eventually(lambda: answers.of("state") and silent.of("state"))
        task = answering(answers)
        begin = asyncio.get_running_loop().time()
        found = await server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1", "i2"), 0.4)
        assert list(found) == ["i1"]
        assert 0.35 < asyncio.get_running_loop().time() - begin < 3
        task.cancel()
    await store.close()


async def test_only_those_concerned_are_asked(sqlite, serving, follow, eventually, publisher):
    store = sqlite()
    async with serving(store) as server:
        await publisher(store).assign("b", "i2")
        clients = {name: follow(server, name) for name in ("i1", "i2", "i3")}
        await eventually(lambda: all(client.of("state") for client in clients.values()))
        tasks = [answering(client) for client in clients.values()]
        asking = server.plane.of(Asking)
        one = await asking.ask("pay", "default", Ask(nonce="", cohorts=("b",)), ("i2",), 5.0)
        two = await asking.ask("pay", "default", Ask(nonce="", instances=("i3",)), ("i3",), 5.0)
        assert (list(one), list(two)) == (["i2"], ["i3"])
        assert [len(client.of("ask")) for client in clients.values()] == [0, 1, 1]
        for task in tasks:
            task.cancel()
    await store.close()


async def test_a_client_that_comes_while_a_question_stands_is_asked(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        asked = asyncio.create_task(server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("late",), 10.0))
        await eventually(lambda: server.hub.namespace("pay", "default").asks.open)
        client = follow(server, "late")
        await eventually(lambda: client.of("ask"))
        assert await client.answer(client.of("ask")[0]["ask"]["nonce"]) == 204
        assert list(await asked) == ["late"]
    await store.close()


async def test_no_old_forged_or_misaddressed_answer_is_taken(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        client, other = follow(server, "i1"), follow(server, "i2")
        await eventually(lambda: client.of("state") and other.of("state"))
        asking = server.plane.of(Asking)
        task = answering(client)
        await asking.ask("pay", "default", Ask(nonce=""), ("i1",), 5.0)
        task.cancel()
        old = client.of("ask")[0]["ask"]["nonce"]
        await eventually(lambda: not server.hub.namespace("pay", "default").asks.open)
        assert await client.answer(old) == 410
        assert await client.answer("0" * 32) == 410

        asked = asyncio.create_task(asking.ask("pay", "default", Ask(nonce=""), ("i1", "i2"), 1.0))
        await eventually(lambda: len(client.of("ask")) == 2)
        nonce = client.of("ask")[1]["ask"]["nonce"]
        assert await client.answer(nonce, session="f" * 32) == 409
        assert await client.answer(nonce, session=other.session) == 409
        body = {"nonce": nonce, "instance": "i2", "report": client.report()}
        assert await client.put(f"/asks/{nonce}/answers/i2", body) == 400  # the report is about another
        body = {"nonce": old, "instance": "i1", "report": client.report()}
        assert await client.put(f"/asks/{nonce}/answers/i1", body) == 400
        assert await asked == {}
    await store.close()


async def test_the_first_answer_of_an_instance_counts(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        asked = asyncio.create_task(server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1", "i2"), 1.0))
        await eventually(lambda: client.of("ask"))
        nonce = client.of("ask")[0]["ask"]["nonce"]
        await client.answer(nonce, config_version=1)
        await client.answer(nonce, config_version=2)
        assert (await asked)["i1"].report.config_version == 1
    await store.close()


async def test_an_answer_may_shorten_the_window(sqlite, serving, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        task = answering(client)
        begin = asyncio.get_running_loop().time()
        found = await server.plane.of(Asking)("pay", "default", Ask(nonce=""), ("i1", "i2"), 20.0, lambda answer: 0.05)
        assert list(found) == ["i1"]
        assert asyncio.get_running_loop().time() - begin < 10
        task.cancel()
    await store.close()


async def test_many_may_ask_at_once(open_store, serving, follow, eventually):
    async with serving(open_store()) as server, serving(open_store()) as other:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        task = answering(client)
        asks = [
            one.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1",), 20.0)
            for one in (server, other)
            for _ in range(10)
        ]
        assert [list(found) for found in await asyncio.gather(*asks)] == [["i1"]] * 20
        assert len({frame["ask"]["nonce"] for frame in client.of("ask")}) == len(client.of("ask")) == 20
        task.cancel()


async def test_too_many_questions_are_refused(sqlite, serving, eventually):
    store = sqlite()
    async with serving(store) as server:
        until = datetime.now(UTC) + timedelta(seconds=60)
        standing = Asks(open=tuple(Ask(nonce=f"n{number}", until=until) for number in range(OPEN)))
        await store.put(ASKS, encode(standing))
        await eventually(lambda: len(server.hub.namespace("pay", "default").asks.open) == OPEN)
        with pytest.raises(Conflict, match="questions stand"):
            await server.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1",), 1.0)
    await store.close()


async def test_what_a_dead_asker_left_is_swept(open_store, serving, eventually):
    store, place = open_store(), ("pay", "default")
    dead, lives = Ask(nonce="dead"), Ask(nonce="lives")
    async with serving(store) as server:
        await store.put(ASKS, encode(Asks(open=(dead,))))
        answer = Answer(nonce="dead", instance="i1", report=report("i1"))
        await store.put(answer_key(*place, "dead", "i1"), encode(answer))
        await eventually(lambda: (server.hub.stood_s(place, "dead") or 0.0) > 0.5)
        await store.put(ASKS, encode(Asks(open=(dead, lives))))
        await eventually(lambda: server.hub.stood_s(place, "lives") is not None)
        await server.plane.of(Asking).sweep(0.5)
        await eventually(lambda: [a.nonce for a in server.hub.namespace("pay", "default").asks.open] == ["lives"])
        assert (await store.range(answers_prefix("pay", "default", "dead"))).entries == ()


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
async def test_an_answer_is_taken_by_a_server_whose_clock_is_an_hour_off(
    ahead_s, open_store, serving, follow, eventually
):
    async with serving(open_store()) as first, serving(open_store()) as second:
        second.clock.ahead_s = ahead_s
        client = follow(second, "i1")
        await eventually(lambda: client.of("state"))
        task = answering(client)
        asked = asyncio.create_task(first.plane.of(Asking).ask("pay", "default", Ask(nonce=""), ("i1",), 5.0))
        await eventually(lambda: client.of("ask"))
        await second.plane.of(Asking).sweep()
        assert set(await asked) == {"i1"}
        task.cancel()


async def test_the_api_asks(sqlite, serving, follow, eventually, http):
    store = sqlite()
    async with serving(store) as server:
        clients = [follow(server, "i1"), follow(server, "i2")]
        await eventually(lambda: all(client.of("state") for client in clients))
        for client in clients:
            await client.say()
        await eventually(lambda: len(server.hub.namespace("pay", "default").reports) == 2)
        tasks = [answering(client) for client in clients]
        body = {"kind": "explain", "keys": ["a"], "window_s": 5}
        async with http.post(f"{server.url}/api/v1/apps/pay/namespaces/default/asks", json=body) as said:
            assert said.status == 200
            assert [answer["instance"] for answer in await said.json()] == ["i1", "i2"]
        assert clients[0].of("ask")[0]["ask"]["kind"] == AskKind.EXPLAIN
        for task in tasks:
            task.cancel()
    await store.close()
