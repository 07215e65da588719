"""One path of a real ZooKeeper server as a source."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import CREATOR_ALL_ACL

from herz.errors import DocumentMalformed, EmptiedSource, RevisionExpired, SourceDenied, SourceUnavailable
from herz.model.document import Batch, Event, Progress, Reset
from herz.model.tree import ABSENT
from herz.sources.base import Failed, Remote, Source
from herz.sources.urls import source_for
from herz.sources.zookeeper import ZookeeperSource
from herz.testing.zookeeper import ZookeeperEnsemble


def made(url: str) -> Any:
    return source_for(url)


def test_it_is_a_remote_source(source: ZookeeperSource):
    assert isinstance(source, Source)
    assert isinstance(source, Remote)


async def test_znodes_are_keys_and_say_where_they_were_written(source, zk, path):
    zk.create(f"{path}/db/pool", b"5", makepath=True)
    pool = zk.exists(f"{path}/db/pool")
    document = await source.read()
    assert document.tree == {"db": {"pool": "5"}}
    assert document.locate("db.pool") == f"{path}/db/pool@{pool.mzxid}"


async def test_a_znode_with_the_name_of_a_file_holds_a_document(source, zk, path):
    zk.create(f"{path}/limits.yml", b"a: 1\nb: [2]\n")
    zk.create(f"{path}/application.json", b'{"name": "pay"}')
    document = await source.read()
    assert document.tree == {"limits": {"a": 1, "b": [2]}, "name": "pay"}
    assert document.locate("limits.b").endswith(":2")


async def test_the_path_itself_may_hold_the_document(server, zk, path):
    zk.set(path, b"timeout: 3s\n")
    source = made(f"zookeeper://{server.hosts}{path}?format=yaml")
    assert (await source.read()).tree == {"timeout": "3s"}
    await source.close()


async def test_data_at_the_path_itself_without_a_format_is_refused_with_its_place(source, zk, path):
    stat = zk.set(path, b"timeout: 3s\n")
    with pytest.raises(DocumentMalformed, match=re.escape(f"{path}@{stat.mzxid}")):
        await source.read()


async def test_a_path_that_is_not_there_is_unavailable(server):
    source = ZookeeperSource.from_url(f"zookeeper://{server.hosts}/no/such/path")
    with pytest.raises(SourceUnavailable, match="there is no znode /no/such/path"):
        await source.read()
    await source.close()


async def test_an_optional_path_may_come_and_go(server, zk, path, ahead):
    source = ZookeeperSource.from_url(f"zookeeper://{server.hosts}{path}/later", optional=True)
    async with ahead(source) as news:
        zk.create(f"{path}/later/limit", b"10", makepath=True)
        item = await news()
        while not item.document.tree:
            item = await news()
        assert item.document.tree == {"limit": "10"}
        zk.delete(f"{path}/later", recursive=True)
        while item.document.tree:
            item = await news()
        assert not isinstance(item, Failed)
    await source.close()


async def test_one_change_is_one_batch_with_its_zxid(source, zk, path, ahead):
    zk.create(f"{path}/limit", b"1")
    async with ahead() as news:
        stat = zk.set(f"{path}/limit", b"2")
        item = await news()
    assert isinstance(item, Batch)
    assert (item.revision, item.events) == (stat.mzxid, (Event(("limit",), "1", "2"),))


async def test_several_znodes_changed_by_one_transaction_are_one_batch(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    async with ahead() as news:
        transaction = zk.transaction()
        transaction.set_data(f"{path}/a", b"2")
        transaction.create(f"{path}/b", b"2")
        transaction.commit()
        item = await news()
    assert isinstance(item, Batch)
    assert set(item.events) == {Event(("a",), "1", "2"), Event(("b",), ABSENT, "2")}


async def test_changes_of_different_znodes_come_one_by_one_although_they_are_seen_together(source, zk, path, ahead):
    for name in "abc":
        zk.create(f"{path}/{name}", b"0")
    async with ahead() as news:
        zxids = [zk.set(f"{path}/{name}", b"1").mzxid for name in "cab"]  # the loop does not run meanwhile
        items = [await news() for _ in zxids]
    assert [item.revision for item in items] == zxids
    assert [item.events[0].path for item in items] == [("c",), ("a",), ("b",)]


async def test_values_that_were_skipped_are_a_reset_that_says_so(source, zk, path, ahead):
    zk.create(f"{path}/limit", b"0")
    async with ahead() as news:
        for number in range(1, 6):
            zk.set(f"{path}/limit", str(number).encode())  # the loop does not run meanwhile
        item = await news()
    assert isinstance(item, Reset)
    assert item.document.tree == {"limit": "5"}
    assert "values in between" in item.reason


async def test_a_znode_deleted_and_created_anew_with_the_same_version_is_seen(source, zk, path, ahead):
    zk.create(f"{path}/limit", b"old")
    async with ahead() as news:
        zk.delete(f"{path}/limit")
        zk.create(f"{path}/limit", b"new")
        assert zk.exists(f"{path}/limit").version == 0
        item = await news()
        while item.document.tree != {"limit": "new"}:
            item = await news()
    assert item.document.locate("limit") == f"{path}/limit@{zk.exists(f'{path}/limit').mzxid}"


async def test_a_deleted_key_is_a_batch_of_its_own(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    zk.create(f"{path}/b", b"2")
    async with ahead() as news:
        zk.delete(f"{path}/a")
        item = await news()
    assert isinstance(item, Batch)
    assert item.events == (Event(("a",), "1", ABSENT),)


async def test_a_subtree_that_appears_is_watched_to_its_depth(source, zk, path, ahead):
    async with ahead() as news:
        zk.create(f"{path}/a/b/c/d", b"1", makepath=True)
        item = await news()
        assert item.document.tree == {"a": {"b": {"c": {"d": "1"}}}}
        zk.set(f"{path}/a/b/c/d", b"2")
        item = await news()
        assert item.document.tree == {"a": {"b": {"c": {"d": "2"}}}}


async def test_a_value_that_is_not_utf8_waits_and_the_others_go_on(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    zk.create(f"{path}/b", b"1")
    async with ahead() as news:
        stat = zk.set(f"{path}/a", b"\xff")
        item = await news()
        assert isinstance(item, Failed)
        assert f"{path}/a@{stat.mzxid}" in str(item.error)
        zk.set(f"{path}/b", b"2")
        item = await news()
        assert item.document.tree == {"a": "1", "b": "2"}
        assert isinstance(await news(), Failed)  # it is still there
        zk.set(f"{path}/a", b"3")
        item = await news()
        assert item.document.tree == {"a": "3", "b": "2"}


async def test_a_malformed_document_fails_the_first_reading_with_its_line(source, zk, path):
    stat = zk.exists(zk.create(f"{path}/limits.yml", b"a: 1\nb: [\n"))
    with pytest.raises(DocumentMalformed, match=re.escape(f"{path}/limits.yml@{stat.mzxid}:")):
        await source.read()


async def test_a_value_that_is_a_table_as_well_is_refused(source, zk, path, ahead):
    zk.create(f"{path}/db", b"5")
    async with ahead() as news:
        zk.create(f"{path}/db/pool", b"5")
        item = await news()
    assert isinstance(item, Failed)
    assert "both a value and a table" in str(item.error)


async def test_everything_deleted_at_once_is_refused_until_it_is_accepted(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    async with ahead() as news:
        zk.delete(path, recursive=True)
        item = await news()
        while not isinstance(item, Failed):
            item = await news()
        assert isinstance(item.error, EmptiedSource)
        assert source.accept() == (source.origin.name,)
        revision = await source.rescan()
        item = await news()
        assert isinstance(item, Batch)
        assert item.revision == revision
        assert item.document.tree == {}


async def test_what_was_deleted_by_accident_and_put_back_changes_nothing(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    async with ahead() as news:
        zk.delete(path, recursive=True)
        assert isinstance(await news(), Failed)
        zk.create(f"{path}/a", b"1", makepath=True)
        item = await news()
        while not isinstance(item, Reset):
            item = await news()
        assert item.document.tree == {"a": "1"}


async def test_a_look_puts_what_differs_before_the_revision_that_it_answers(source, zk, path):
    zk.create(f"{path}/a", b"1")
    document = await source.read()
    async with source.follow(document.revision) as items:
        zk.set(f"{path}/a", b"2")
        revision = await source.rescan()
        item = await anext(items)
        assert isinstance(item, Batch)
        while item.revision < revision:
            item = await anext(items)


async def test_a_watch_on_which_nothing_changes_proves_that_it_lives(source, zk, path):
    zk.create(f"{path}/a", b"1")
    document = await source.read()
    async with source.follow(document.revision) as items, asyncio.timeout(source.proof_s):
        assert isinstance(await anext(items), Progress)


async def test_cancelling_a_wait_for_the_next_item_loses_nothing(source, zk, path):
    zk.create(f"{path}/a", b"0")
    document = await source.read()
    async with source.follow(document.revision) as items:
        for number in range(1, 30):
            writing = asyncio.ensure_future(asyncio.to_thread(zk.set, f"{path}/a", str(number).encode()))
            seen = None
            while seen != str(number):
                try:
                    async with asyncio.timeout(0.0005):
                        item = await anext(items)
                except TimeoutError:
                    continue
                if isinstance(item, Batch | Reset):
                    seen = item.document.tree["a"]
            await writing


async def test_a_revision_that_was_not_read_last_is_expired(source, zk, path):
    document = await source.read()
    with pytest.raises(RevisionExpired):
        async with source.follow(document.revision - 1):
            pass


async def test_one_change_among_many_znodes_costs_a_few_packets(source, server, zk, path, ahead):
    def received() -> int:
        return int(re.findall(r"zk_packets_received\s+(\d+)", server.servers[0].command("mntr"))[0])

    for number in range(300):
        zk.create(f"{path}/key{number}", b"0")
    async with ahead() as news:
        before = received()
        zk.set(f"{path}/key7", b"1")
        assert (await news()).events[0].path == ("key7",)
        assert received() - before < 12


async def test_credentials_open_what_an_acl_protects(server, path):
    owner = KazooClient(server.hosts, auth_data=[("digest", "ada:s3cret/x")])
    owner.start()
    owner.create(f"{path}/closed", b"", acl=CREATOR_ALL_ACL)
    owner.create(f"{path}/closed/limit", b"10", acl=CREATOR_ALL_ACL)
    owner.stop()
    owner.close()
    source = made(f"zookeeper://ada:s3cret%2Fx@{server.hosts}{path}/closed")
    assert (await source.read()).tree == {"limit": "10"}
    assert "s3cret" not in f"{source.origin} {source.ensemble!r}"
    await source.close()
    for credentials in ("ada:wrong@", ""):
        source = made(f"zookeeper://{credentials}{server.hosts}{path}/closed")
        with pytest.raises(SourceDenied, match=f"{path}/closed") as caught:
            await source.read()
        assert "wrong" not in str(caught.value)
        await source.close()


async def test_a_permission_that_is_revoked_shows_although_the_server_is_silent_about_it(source, zk, path, ahead):
    zk.create(f"{path}/limit", b"1")
    async with ahead() as news:
        owner = KazooClient(",".join(source.ensemble.hosts), auth_data=[("digest", "ada:x")])
        owner.start()
        owner.set_acls(f"{path}/limit", CREATOR_ALL_ACL)
        owner.set(f"{path}/limit", b"2")
        with pytest.raises(SourceDenied, match=f"{path}/limit"):
            await news()
        owner.delete(f"{path}/limit")
        owner.stop()
        owner.close()


async def test_sasl_takes_the_right_password_and_denies_the_wrong_one():
    with ZookeeperEnsemble(users={"ada": "s3cret"}) as ensemble:
        source = made(f"optional:zookeeper://ada:s3cret@{ensemble.hosts}/config?auth=sasl")
        assert (await source.read()).tree == {}
        await source.close()
        source = made(f"zookeeper://ada:wrong@{ensemble.hosts}/config?auth=sasl")
        with pytest.raises(SourceDenied, match="does not take the password of ada"):
            await source.read()
        await source.close()


async def test_a_value_that_was_written_and_deleted_at_once_is_a_reset(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    zk.create(f"{path}/b", b"1")
    async with ahead() as news:
        zk.set(f"{path}/a", b"2")  # nobody will ever read it
        zk.delete(f"{path}/a")  # the loop does not run meanwhile
        item = await news()
    assert isinstance(item, Reset)
    assert item.document.tree == {"b": "1"}


async def test_what_happens_between_a_consistent_state_and_its_taking_belongs_to_the_next(source, zk, path, ahead):
    async def until(holds) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110  nothing may settle meanwhile
                await asyncio.sleep(0.001)

    zk.create(f"{path}/a", b"1")
    zk.create(f"{path}/b", b"1")
    await source.read()
    mirror = source._mirror
    zk.set(f"{path}/a", b"2")
    await until(lambda: not mirror.current)
    cut = await mirror.settle()
    zk.delete(f"{path}/b")
    await until(lambda: f"{path}/b" not in mirror._values)  # the watch has fired already
    source._take(mirror, cut)
    source._take(mirror, await mirror.settle())
    taken = [item.document.tree for item in source._items if isinstance(item, Batch)]
    assert taken == [{"a": "2", "b": "1"}, {"a": "2"}]


async def test_a_child_that_came_and_went_before_its_parent_did_is_a_reset(source, zk, path, ahead):
    zk.create(f"{path}/a", b"1")
    zk.create(f"{path}/b", b"1")
    async with ahead() as news:
        transaction = zk.transaction()
        transaction.create(f"{path}/a/x", b"1")
        transaction.delete(f"{path}/a/x")
        transaction.delete(f"{path}/a")
        transaction.commit()
        assert isinstance(await news(), Reset)
