"""Following a channel, straight or at a server: what it points at is what runs, prepared first, and is reported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from herz import Herz
from herz.errors import ConfigLoadError
from herz.model.document import Batch, Reset
from herz.release.content import LayerText
from herz.release.report import Status
from herz.sources.base import Prepare
from herz.sources.urls import source_for
from herz.store.plane import content_key, graph_key

BASE = "pool:\n  size: 1\nname: pay\n"


@dataclass(frozen=True)
class Pool:
    size: int = 0


class Built:
    made: list[int]

    def __init__(self, pool: Pool) -> None:
        Built.made.append(pool.size)
        if pool.size == 13:
            raise RuntimeError("thirteen")


@pytest.fixture(autouse=True)
def _clean() -> None:
    Built.made = []


def herz_of(*sources: Any, **environment: str) -> Herz:
    herz = Herz(*sources, environment=environment)
    herz.properties("pool")(Pool)
    herz.refresh_scope(eager=True)(Built)
    return herz


async def test_what_the_channel_points_at_runs_and_is_reported(plane: Any, url: Any) -> None:
    ref = await plane.publish(BASE)
    async with herz_of(url(**{"label.zone": "eu"}), HERZ_PATCH_ID="p7", HERZ_LABELS="zone=us, container=main") as herz:
        assert herz.get(Pool).size == 1
        assert herz.snapshot.locate("pool.size") == f"{plane.app}/default:tenant@1:2"
        report = await plane.reported(lambda report: report.status is Status.APPLIED)
        assert (report.config_version, report.digest, report.fingerprint) == (1, ref.digest, ref.fingerprint)
        assert (report.instance, report.patch_id, report.labels) == ("one", "p7", {"zone": "eu", "container": "main"})
        assert (report.generation, report.cohort, report.overrides) == (1, "stable", ())
        assert report.effective == herz.snapshot.fingerprint
        new = await plane.publish("pool:\n  size: 2\nname: pay\n")
        report = await plane.reported(lambda report: report.config_version == 2)
        assert (herz.get(Pool).size, report.status, report.fingerprint) == (2, Status.APPLIED, new.fingerprint)
        assert herz.snapshot.locate("name") == f"{plane.app}/default:tenant@2:3"


async def test_without_any_release_it_waits_with_an_empty_document(plane: Any, url: Any, soon: Any) -> None:
    async with herz_of({"pool.size": 7}, url()) as herz:
        report = await plane.reported(lambda report: True)
        assert (report.status, report.config_version, herz.get(Pool).size) == (Status.APPLIED, None, 7)
        await plane.publish(BASE)
        await soon(lambda: herz.get(Pool).size == 1)
        assert herz.freshness == "CURRENT"


async def test_prepare_builds_and_commit_does_not_build_again(plane: Any, url: Any, soon: Any) -> None:
    one = await plane.publish(BASE)
    async with herz_of(url()) as herz:
        two = await plane.release(BASE.replace("1", "2"))
        await plane.point(one, prepare=two)
        report = await plane.reported(lambda report: report.rehearsed is not None)
        found = report.rehearsed
        assert (found.number, found.digest, found.fingerprint, found.error) == (2, two.digest, two.fingerprint, None)
        assert (report.status, report.config_version, herz.get(Pool).size) == (Status.APPLIED, 1, 1)
        assert Built.made == [1, 2]
        await plane.point(two)
        report = await plane.reported(lambda report: report.config_version == 2)
        assert (report.rehearsed, report.status, Built.made) == (None, Status.APPLIED, [1, 2])
        assert herz.get(Pool).size == 2
        three = await plane.release(BASE.replace("1", "3"))
        await plane.point(two, prepare=three)
        await plane.reported(lambda report: report.rehearsed is not None)
        await plane.point(three)
        await plane.reported(lambda report: report.config_version == 3)
        assert Built.made == [1, 2, 3]


@pytest.mark.parametrize("bad", ["pool:\n  size: 13\n", "pool:\n  size: many\n", "pool: [\n"])
async def test_what_cannot_be_built_ahead_is_reported_and_nothing_in_force_notices(
    plane: Any, url: Any, bad: str, soon: Any
) -> None:
    one = await plane.publish(BASE)
    async with herz_of(url()) as herz:
        await soon(lambda: herz.freshness == "CURRENT")
        two = await plane.release(bad)
        await plane.point(one, prepare=two)
        report = await plane.reported(lambda report: report.rehearsed is not None)
        assert (report.rehearsed.number, report.rehearsed.ok) == (2, False)
        assert (report.status, report.config_version, herz.freshness) == (Status.APPLIED, 1, "CURRENT")
        await plane.point(one)
        report = await plane.reported(lambda report: report.rehearsed is None)
        assert (report.status, herz.get(Pool).size) == (Status.APPLIED, 1)


@pytest.mark.parametrize("bad", ["pool:\n  size: 13\n", "pool:\n  size: many\n", "pool: [\n"])
async def test_a_release_that_cannot_run_is_reported_and_a_rollback_mends_it(
    plane: Any, url: Any, bad: str, soon: Any
) -> None:
    one = await plane.publish(BASE)
    async with herz_of(url()) as herz:
        await plane.publish(bad)
        report = await plane.reported(lambda report: report.status is Status.FAILED)
        assert (report.config_version, report.fingerprint, bool(report.error)) == (1, one.fingerprint, True)
        assert report.target == 2
        assert (herz.get(Pool).size, herz.freshness) == (1, "REFUSED")
        await plane.point(one)
        report = await plane.reported(lambda report: report.status is Status.APPLIED)
        assert (report.config_version, report.target, report.error) == (1, 1, None)
        await soon(lambda: herz.freshness == "CURRENT")


async def test_a_rollback_decodes_and_fetches_nothing(plane: Any, url: Any, monkeypatch: Any) -> None:
    one = await plane.publish(BASE)
    async with herz_of(url()):
        await plane.publish(BASE.replace("1", "2"))
        await plane.reported(lambda report: report.config_version == 2)
        monkeypatch.setattr("herz.sources.released_content.decode", None)
        monkeypatch.setattr("herz.sources.released_content.redecode", None)
        await plane.point(one)
        report = await plane.reported(lambda report: report.config_version == 1)
        assert (report.status, report.fingerprint) == (Status.APPLIED, one.fingerprint)


async def test_a_cohort_has_its_own_pointer_and_others_keep_theirs(plane: Any, url: Any) -> None:
    one = await plane.publish(BASE)
    two = await plane.release(BASE.replace("1", "2"))
    async with herz_of(url("one")) as first, herz_of(url("two")) as second:
        await plane.assign("two", "r1-b1")
        await plane.point(one, cohort="r1-b1", prepare=two)
        report = await plane.reported(lambda report: report.rehearsed is not None, "two")
        assert (report.cohort, report.config_version) == ("r1-b1", 1)
        await plane.point(two, cohort="r1-b1")
        await plane.reported(lambda report: report.config_version == 2, "two")
        assert (first.get(Pool).size, second.get(Pool).size) == (1, 2)
        report = await plane.report("one")
        assert (report.config_version, report.cohort, report.rehearsed) == (1, "stable", None)


async def test_a_restart_reads_the_stored_decision(plane: Any, url: Any) -> None:
    one = await plane.publish(BASE)
    two = await plane.release(BASE.replace("1", "2"))
    three = await plane.release(BASE.replace("1", "3"))
    await plane.assign("one", "r1-b1")
    await plane.point(two, cohort="r1-b1", prepare=three)
    for _ in range(2):
        async with herz_of(url()) as herz:
            assert herz.get(Pool).size == 2
            report = await plane.reported(lambda report: report.rehearsed is not None)
            assert (report.cohort, report.config_version, report.rehearsed.number) == ("r1-b1", 2, 3)
    await plane.point(one, cohort="r1-b1")
    async with herz_of(url()) as herz:
        assert herz.get(Pool).size == 1


async def test_the_same_content_released_anew_is_another_version_and_no_change(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    heard: list[Any] = []
    async with herz_of(url()) as herz:
        herz.on_change()(heard.append)
        await plane.publish(BASE)
        report = await plane.reported(lambda report: report.config_version == 2)
        assert report.status is Status.APPLIED
        assert herz.snapshot.locate("pool.size") == f"{plane.app}/default:tenant@2:2"
        assert (heard, Built.made) == ([], [1])


async def test_layers_are_merged_in_their_order_and_may_come_and_go(plane: Any, url: Any) -> None:
    await plane.publish(BASE, "pool:\n  size: 5\n")
    async with herz_of(url()) as herz:
        assert herz.get(Pool).size == 5
        assert f"{plane.app}/default:policy@1:2" in str(herz.snapshot.explain("pool.size"))
        ref = await plane.publish(BASE, LayerText(name="policy", text='{"pool": {"size": 6}}', format="json"))
        report = await plane.reported(lambda report: report.config_version == 2)
        assert (herz.get(Pool).size, report.fingerprint) == (6, ref.fingerprint)
        ref = await plane.publish(BASE, LayerText(name="env", text="POOL__SIZE=1\n", format="env"))
        report = await plane.reported(lambda report: report.config_version == 3)
        assert report.fingerprint == ref.fingerprint
        ref = await plane.publish(BASE)
        report = await plane.reported(lambda report: report.config_version == 4)
        assert (herz.get(Pool).size, report.fingerprint) == (1, ref.fingerprint)


async def test_a_channel_that_points_at_nothing_any_more_looks_like_an_accident(
    plane: Any, url: Any, soon: Any
) -> None:
    await plane.publish(BASE)
    async with herz_of({"pool.size": 9}, url()) as herz:
        await plane.point(None)
        await soon(lambda: herz.freshness == "REFUSED")
        assert herz.get(Pool).size == 1
        assert await herz.aaccept() == (herz.health().sources[1].name,)
        assert herz.get(Pool).size == 9


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])  # a server does not tell what it cannot read itself
async def test_a_damaged_content_is_refused_and_the_last_good_one_stays(plane: Any, url: Any, soon: Any) -> None:
    await plane.publish(BASE)
    async with herz_of(url()) as herz:
        two = await plane.release(BASE.replace("1", "77"))
        await plane.store.put(content_key(two.digest), b'{"layers":[]}')
        await plane.point(two)
        report = await plane.reported(lambda report: report.status is Status.FAILED)
        assert "not what its address says" in report.error
        assert herz.get(Pool).size == 1
    with pytest.raises(ConfigLoadError):
        herz_of(url()).start()


async def items_of(source: Any, revision: int, count: int) -> list[Any]:
    found: list[Any] = []
    async with source.follow(revision) as items:
        async for item in items:
            if isinstance(item, Batch | Reset | Prepare):
                found.append(item)
            if len(found) == count:
                break
    return found


async def test_one_changed_key_among_many_is_a_batch_of_one_event_and_little_is_decoded(
    plane: Any, url: Any, monkeypatch: Any
) -> None:
    lines = [f"k{n:05d}: {{a: {n}, b: x}}\n" for n in range(20_000)]
    one = await plane.publish("".join(lines))
    source: Any = source_for(url())
    document = await source.read()
    lines[777] = "k00777: {a: 777, b: y}\n"
    two = await plane.release("".join(lines))
    monkeypatch.setattr("herz.sources.released_content.decode", None)
    sizes: list[int] = []
    members: Callable[..., Any] = sys.modules["herz.formats.decode"]._members

    def counted(format: str, data: bytes, *rest: Any) -> Any:
        sizes.append(len(data))
        return members(format, data, *rest)

    monkeypatch.setattr("herz.formats.decode._members", counted)
    await plane.point(one, prepare=two)
    (prepare,) = await items_of(source, document.revision, 1)
    assert [event.path for event in prepare.events] == [("k00777", "b")]
    await plane.point(two)
    found = await items_of(source, source._revision, 3)
    batch = next(item for item in found if isinstance(item, Batch))
    assert [(event.path, event.before, event.after) for event in batch.events] == [(("k00777", "b"), "x", "y")]
    assert batch.document.parts == prepare.document.parts
    assert sum(sizes) < 50_000 < len("".join(lines))
    await source.close()


async def test_the_graph_of_objects_is_left_once_at_its_address(plane: Any, url: Any, soon: Any) -> None:
    await plane.publish(BASE)
    async with herz_of(url()):
        report = await plane.reported(lambda report: report.graph is not None)
        deadline: list[Any] = []
        while not deadline:
            entry = await plane.store.get(graph_key(report.graph))
            deadline += [] if entry is None else [entry]
        assert b'"Built":["Pool"]' in deadline[0].value
        assert b'"Pool":"pool"' in deadline[0].value
