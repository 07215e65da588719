"""Streams: what a client is told, in which order, and how often."""

from __future__ import annotations

import asyncio

import pytest

from herz.release.channel import Channel, Pointer
from herz.server.settings import ServerSettings


async def test_a_stream_begins_with_hello_and_the_state(open_store, serving, follow, eventually):
    store = open_store()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        hello, state = client.frames[:2]
        assert hello["type"] == "hello"
        assert hello["identity"] == (await store.status()).identity
        assert hello["proof_s"] == 10.0
        assert state == {"type": "state", "revision": state["revision"], "cohort": "stable", "pointer": {}}


async def test_a_release_reaches_a_stream_after_its_content(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store) as server:
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        await publisher(store).release("a: 1\n")
        await eventually(lambda: client.running == 1)
        assert [frame["type"] for frame in client.frames] == ["hello", "state", "content", "state"]
        assert client.text == "a: 1\n"


async def test_a_later_release_brings_only_what_changed(open_store, serving, follow, eventually, publisher):
    store = open_store()
    text = "".join(f"key{number}: {number}\n" for number in range(1000))
    async with serving(store) as server:
        client = follow(server, "i1")
        publish = publisher(store)
        await publish.release(text)
        await eventually(lambda: client.running == 1)
        await publish.release(text.replace("key500: 500", "key500: five hundred"))
        await eventually(lambda: client.running == 2)
        (layer,) = client.of("content")[1]["layers"]
        assert layer["put"] == "five hundred"
        assert layer["drop"] == 3
        assert client.text == text.replace("key500: 500", "key500: five hundred")


async def test_a_client_that_has_the_content_is_not_sent_it(open_store, serving, follow, eventually, publisher):
    store = open_store()
    ref = await publisher(store).release("a: 1\n")
    async with serving(store) as server:
        client = follow(server, "i1", f"&have={ref.digest}&after=1")
        await eventually(lambda: client.running == 1)
        assert client.of("content") == []


async def test_what_a_client_has_is_the_base_of_what_it_is_sent(open_store, serving, follow, eventually, publisher):
    store = open_store()
    publish = publisher(store)
    old = await publish.release("a: 1\n" * 100)
    await publish.release("a: 1\n" * 100 + "b: 2\n")
    async with serving(store) as server:  # a new server, which has neither in memory
        client = follow(server, "i1", f"&have={old.digest}")
        client.contents[old.digest] = _content("a: 1\n" * 100)
        await eventually(lambda: client.running == 2)
        assert client.of("content")[0]["base"] == old.digest
        assert client.text == "a: 1\n" * 100 + "b: 2\n"


@pytest.mark.parametrize("place", [("shop", "default"), ("pay", "default")])
async def test_a_content_of_which_the_namespace_has_no_release_is_no_base(
    open_store, serving, follow, eventually, publisher, place
):
    store = open_store()
    secret = "".join(f"line{number}: {number}\n" for number in range(100))
    other = publisher(store, *place)
    other.number = 7
    foreign = await (other.release if place[0] == "shop" else other.content)(f"{secret}token: hunter2\n")
    async with serving(store) as server:
        owner = follow(server, "s1")  # somebody has it in memory
        await publisher(store).release(f"{secret}token: guess\n")
        client = follow(server, "i1", f"&have={foreign.digest}")
        await eventually(lambda: client.running == 1 and owner.running == 1)
        [frame] = client.of("content")
        assert frame["base"] is None
        assert "drop" not in frame["layers"][0]


async def test_a_base_that_nobody_knows_is_answered_with_the_whole(open_store, serving, follow, eventually, publisher):
    store = open_store()
    await publisher(store).release("a: 1\n")
    async with serving(store) as server:
        client = follow(server, "i1", f"&have=sha256:{'0' * 64}")
        await eventually(lambda: client.running == 1)
        assert client.of("content")[0]["base"] is None


async def test_prepare_and_commit_are_told_in_order(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store) as server:
        client = follow(server, "i1")
        publish = publisher(store)
        old = await publish.release("a: 1\n")
        await eventually(lambda: client.running == 1)
        new = await publish.content("a: 2\n")
        await publish.assign("r1-b1", "i1")
        preparing = Pointer(release=old, prepare=new, rollout="r1")
        await publish.point(Channel(stable=Pointer(release=old), cohorts={"r1-b1": preparing}))
        await eventually(lambda: client.of("state")[-1]["pointer"].get("prepare"))
        await publish.point(Channel(stable=Pointer(release=old), cohorts={"r1-b1": Pointer(release=new)}))
        await eventually(lambda: client.running == 2)
        assert [frame["type"] for frame in client.frames[-3:]] == ["content", "state", "state"]  # it came with PREPARE


async def test_a_cohort_is_told_to_its_members_only(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store) as server:
        mine, other = follow(server, "mine"), follow(server, "other")
        publish = publisher(store)
        old = await publish.release("a: 1\n")
        await eventually(lambda: mine.running == other.running == 1)
        new = await publish.content("a: 2\n")
        await publish.point(Channel(stable=Pointer(release=old), cohorts={"r1-b1": Pointer(release=new)}))
        await publish.assign("r1-b1", "mine")
        await eventually(lambda: mine.running == 2)
        assert mine.of("state")[-1]["cohort"] == "r1-b1"
        await publish.release("a: 3\n")
        await eventually(lambda: other.running == 3)
        assert [state["pointer"].get("release", {}).get("number") for state in other.of("state")][-2:] == [1, 3]
        assert mine.running == 2


async def test_a_deleted_mailbox_leads_back_to_stable(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store) as server:
        publish = publisher(store)
        old, new = await publish.content("a: 1\n"), await publish.content("a: 2\n")
        await publish.point(Channel(stable=Pointer(release=old), cohorts={"b": Pointer(release=new)}))
        await publish.assign("b", "i1")
        client = follow(server, "i1")
        await eventually(lambda: client.running == 2)
        await store.delete_prefix("/herz/live/pay/default/to/i1/")
        await eventually(lambda: client.running == 1)
        assert client.of("state")[-1]["cohort"] == "stable"


async def test_every_client_ends_at_the_last_of_many_releases_with_exact_texts_and_growing_revisions(
    open_store, serving, follow, eventually, publisher
):
    store = open_store()
    async with serving(store) as server:
        clients = [follow(server, f"i{number}") for number in range(10)]
        publish = publisher(store)
        for number in range(1, 31):
            await publish.release(f"head: x\nnumber: {number}\n" + "tail: y\n" * 50)
        await eventually(lambda: all(client.running == 30 for client in clients))
        for client in clients:
            assert "number: 30\n" in client.text
            revisions = [frame["revision"] for frame in client.of("hello", "state", "alive")]
            assert revisions == sorted(revisions)
            told = [state["pointer"]["release"]["number"] for state in client.of("state") if state["pointer"]]
            assert told == sorted(set(told)), "in order, and once"


async def test_servers_of_one_store_tell_the_same(open_store, serving, follow, eventually, publisher):
    async with serving(open_store()) as first, serving(open_store()) as second:
        clients = [follow(first, "i1"), follow(second, "i2")]
        publish = publisher(open_store())
        for number in range(1, 6):
            await publish.release(f"number: {number}\n")
            await eventually(lambda number=number: all(client.running == number for client in clients))
            assert clients[0].text == clients[1].text == f"number: {number}\n"


async def test_namespaces_do_not_hear_of_each_other(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store) as server:
        pay = follow(server, "i1")
        book = follow(server, "i1", place="/api/v1/apps/book/namespaces/eu")
        await publisher(store, "book", "eu").release("b: 1\n")
        await eventually(lambda: book.running == 1)
        await eventually(lambda: pay.of("state"))
        assert pay.running is None


async def test_an_idle_stream_is_told_that_nothing_is_missing(open_store, serving, follow, eventually, publisher):
    store = open_store()
    async with serving(store, ServerSettings(proof_s=0.9)) as server:
        client = follow(server, "i1")
        await eventually(lambda: len(client.of("alive")) >= 3)
        revision = await publisher(store).point(Channel())
        await eventually(lambda: client.of("alive")[-1]["revision"] >= revision)


async def test_a_second_stream_of_an_instance_ends_the_first(open_store, serving, follow, eventually):
    async with serving(open_store()) as server:
        first = follow(server, "i1")
        await eventually(lambda: first.of("state"))
        second = follow(server, "i1")
        await eventually(lambda: second.of("state"))
        await asyncio.wait_for(first.ended.wait(), 5)
        assert first.frames[-1]["type"] == "end"
        assert first.frames[-1]["problem"]["type"] == "urn:herz:problem:replaced"
        assert not second.of("end")


async def test_a_server_that_stops_says_so_and_spreads_its_clients(open_store, serving, follow, eventually):
    async with serving(open_store()) as server:
        clients = [follow(server, f"i{number}") for number in range(20)]
        await eventually(lambda: all(client.of("state") for client in clients))
        server.plane.closing.set()
        for client in clients:
            await asyncio.wait_for(client.ended.wait(), 5)
            assert client.failure is None
        ends = [client.frames[-1] for client in clients]
        assert {end["problem"]["type"] for end in ends} == {"urn:herz:problem:closing"}
        assert len({end["problem"]["retry_after_s"] for end in ends}) > 10


STRANGE = (
    "instance=",
    "",
    "instance=../../x",
    "instance=i1&have=nonsense",
    "instance=i1&after=-1",
    "instance=i1&wait=1000000",
    "instance=<b>",
)


async def test_a_request_that_cannot_be_understood_is_refused_with_a_problem(sqlite, serving, http):
    store = sqlite()
    async with serving(store) as server:
        for query in STRANGE:
            async with http.get(f"{server.url}/api/v1/apps/pay/namespaces/x/stream?{query}") as said:
                assert said.status == 400, query
                assert said.content_type == "application/problem+json"
                assert (await said.json())["type"].startswith("urn:herz:problem:")
    await store.close()


async def test_a_content_that_is_missing_holds_up_its_state_but_not_questions(
    sqlite, serving, follow, eventually, publisher
):
    store = sqlite()
    async with serving(store, ServerSettings(proof_s=0.6)) as server:
        client = follow(server, "i1")
        publish = publisher(store)
        ref = await publish.release("a: 1\n")
        await eventually(lambda: client.running == 1)
        gone = ref.__class__(number=2, digest=f"sha256:{'1' * 64}", fingerprint=ref.fingerprint)
        await publish.point(Channel(stable=Pointer(release=gone)))
        await store.put("/herz/live/pay/default/all/asks", b'{"open":[{"nonce":"n1"}]}')
        await eventually(lambda: client.of("ask"))
        assert client.running == 1
        seen = len(client.of("alive"))
        await publish.point(Channel(stable=Pointer(release=ref)))
        await eventually(lambda: len(client.of("alive")) > seen)
    await store.close()


def _content(text):
    from herz.release.content import Content, LayerText

    return Content(layers=(LayerText(name="application", text=text),))
