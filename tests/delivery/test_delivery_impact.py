"""Blast radius: which objects a change reaches, and what an instance says when it builds it."""

from __future__ import annotations

import asyncio

import pytest

from herz.model.key import split
from herz.release.report import Graph
from herz.server.fleet import digest_of
from herz.server.impact import changed_paths, rebuilt

PLACE = "/api/v1/apps/pay/namespaces/default"
GRAPH = Graph(
    properties={"DbConfig": "db", "HttpConfig": "http", "Everything": ""},
    objects={
        "Pool": ("DbConfig",),
        "Repository": ("Pool",),
        "Service": ("Repository", "Client"),
        "Client": ("HttpConfig",),
        "Audit": ("Everything",),
    },
)


@pytest.mark.parametrize(
    ("changed", "properties", "objects"),
    [
        ("db.pool.size", "DbConfig Everything", "Audit Pool Repository Service"),
        ("http.timeout", "Everything HttpConfig", "Audit Client Service"),
        ("db", "DbConfig Everything", "Audit Pool Repository Service"),
        ("dbx.pool", "Everything", "Audit"),
        ("other", "Everything", "Audit"),
    ],
)
def test_objects_are_reached_through_what_they_are_built_from(changed, properties, objects):
    found = rebuilt(GRAPH, [split(changed)])
    assert (" ".join(found[0]), " ".join(found[1])) == (properties, objects)


def test_objects_that_need_each_other_are_reached_once():
    graph = Graph(properties={"C": "c"}, objects={"A": ("B", "C"), "B": ("A",)})
    assert rebuilt(graph, [("c",)]) == (("C",), ("A", "B"))


def test_nothing_changed_reaches_nothing():
    assert rebuilt(GRAPH, []) == ((), ())


def test_a_reference_carries_the_change_on():
    before = {"host": "a", "url": "http://${host}/x", "full": "${url}?y", "other": "z"}
    found = changed_paths(before, {**before, "host": "b"})
    assert found == (("full",), ("host",), ("url",))


def test_a_reference_with_a_default_counts():
    before = {"host": "a", "url": "${host:localhost}"}
    assert ("url",) in changed_paths(before, {**before, "host": "b"})


def test_what_is_written_differently_and_means_the_same_is_no_change():
    assert changed_paths({"a": {"b": 1}}, {"a": {"b": 1}}) == ()


def test_spelling_does_not_matter():
    graph = Graph(properties={"C": "my-service"}, objects={})
    assert rebuilt(graph, [("my_service", "port")])[0] == ("C",)


async def draft(http, server, text, expect=0):
    body = {"content": {"layers": [{"name": "application", "text": text}]}, "expect": expect, "message": "m"}
    async with http.put(f"{server.url}{PLACE}/draft", json=body) as said:
        assert said.status == 200, await said.text()
        return (await said.json())["revision"]


async def impact(http, server, **body):
    async with http.post(f"{server.url}{PLACE}/impact", json=body) as said:
        return said.status, await said.json()


async def test_the_api_tells_keys_instances_and_objects(sqlite, serving, follow, eventually, http):
    store = sqlite()
    async with serving(store) as server:
        await draft(http, server, "db:\n  pool: 1\nhttp:\n  timeout: 3\npassword: old\n")
        async with http.post(f"{server.url}{PLACE}/releases", json={"message": "m"}) as said:
            assert said.status == 201
        known, unknown = follow(server, "i1"), follow(server, "i2")
        await eventually(lambda: known.running == unknown.running == 1)
        async with http.put(
            f"{server.url}/api/v1/graphs/{digest_of(GRAPH)}",
            json={"properties": GRAPH.properties, "objects": GRAPH.objects},
        ) as said:
            assert said.status == 204
        await known.say(graph=digest_of(GRAPH), config_version=1)
        await unknown.say(graph="sha256:../../x", config_version=1)
        await eventually(lambda: len(server.hub.namespace("pay", "default").reports) == 2)
        async with http.get(f"{server.url}{PLACE}/draft") as said:
            revision = (await said.json())["revision"]
        await draft(http, server, "db:\n  pool: 2\nhttp:\n  timeout: 3\npassword: new\n", revision)

        status, found = await impact(http, server)
        assert status == 200
        assert [one["key"] for one in found["changed"]] == ["db.pool", "password"]
        assert "new" not in str(found["changed"][1])
        assert found["objects"] == {"Audit": 1, "Pool": 1, "Repository": 1, "Service": 1}
        assert [one["instance"] for one in found["instances"]] == ["i1", "i2"]
        assert found["unknown"] == 1

        status, found = await impact(http, server, release=1)
        assert found.get("instances", []) == []
        assert (await impact(http, server, release=9))[0] == 404
        assert (await impact(http, server, dry_build="nobody"))[0] == 404
    await store.close()


async def test_an_instance_builds_without_using_it(sqlite, serving, follow, eventually, http):
    store = sqlite()
    async with serving(store) as server:
        await draft(http, server, "a: 1\n")
        client = follow(server, "i1")
        await eventually(lambda: client.of("state"))
        await client.say()
        await eventually(lambda: "i1" in server.hub.namespace("pay", "default").reports)
        asked = asyncio.create_task(impact(http, server, dry_build="i1"))
        await eventually(lambda: client.of("ask"))
        ask = client.of("ask")[0]["ask"]
        assert ask["kind"] == "build"
        built = {"number": 0, "digest": ask["digest"], "fingerprint": "sha256:1", "unbuilt": ["Lazy"]}
        body = {
            "nonce": ask["nonce"],
            "instance": "i1",
            "report": client.report(),
            "rehearsed": built,
            "rebuilt": ["Pool"],
        }
        assert await client.put(f"/asks/{ask['nonce']}/answers/i1", body) == 204
        status, found = await asked
        assert status == 200
        assert found["rehearsed"] == {
            "instance": "i1",
            "fingerprint": "sha256:1",
            "rebuilt": ["Pool"],
            "unbuilt": ["Lazy"],
        }
    await store.close()
