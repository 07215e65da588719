"""Questions and reports: answered from what runs at that moment, with what is overridden, and without any secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from herz import Herz
from herz.release.record import encode
from herz.release.report import Ask, AskKind, Status

BASE = """pool:
  size: 1
  timeout: 3000ms
name: pay
db:
  password: hunter2
  url: postgres://pay:${db.password}@db/pay
"""


@dataclass(frozen=True)
class Pool:
    size: int = 0
    timeout: timedelta = timedelta(seconds=1)


class Client:
    def __init__(self, pool: Pool) -> None:
        if pool.size == 13:
            raise RuntimeError("it knows hunter2")


def herz_of(*sources: Any, **environment: str) -> Herz:
    herz = Herz(*sources, environment=environment)
    herz.properties("pool")(Pool)
    herz.refresh_scope(eager=True)(Client)
    return herz


async def test_a_probe_is_answered_once_from_what_runs(plane: Any, url: Any) -> None:
    ref = await plane.publish(BASE)
    async with herz_of(url("one")), herz_of(url("two")):
        await plane.reported(lambda report: True, "one")
        await plane.reported(lambda report: True, "two")
        answers = await plane.ask(Ask(nonce="n1"), "one", "two")
        assert {answer.instance: answer.report.fingerprint for answer in answers} == {
            "one": ref.fingerprint,
            "two": ref.fingerprint,
        }
        assert all(answer.report.status is Status.APPLIED for answer in answers)
        (answer,) = await plane.ask(Ask(nonce="n2", instances=("two",)), "two")
        assert answer.instance == "two"


async def test_keys_are_explained_with_their_places_and_without_secrets(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with herz_of(url(), POOL__SIZE="7"):
        await plane.reported(lambda report: True)
        keys = ("pool.size", "db.password", "db.url", "nothing")
        (answer,) = await plane.ask(Ask(nonce="n3", kind=AskKind.EXPLAIN, keys=keys), "one")
        size, password, dsn, nothing = answer.explained
        assert (size.value, size.origin) == ("7", "env:POOL__SIZE")
        assert size.overrode == (f"1 ({plane.app}/default:tenant@1:2)",)
        assert (password.value, dsn.value, dsn.origin) == ("••••", "••••", f"{plane.app}/default:tenant@1:7")
        assert (nothing.value, nothing.origin) == (None, None)
        assert b"hunter2" not in encode(answer)


async def test_a_dry_build_is_answered_with_what_it_built_and_changes_nothing(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    good, fingerprint = await plane.content(BASE.replace("size: 1", "size: 2"))
    bad, _ = await plane.content(BASE.replace("size: 1", "size: 13"))
    unreadable, _ = await plane.content("a: [")
    async with herz_of(url()) as herz:
        await plane.reported(lambda report: True)
        (answer,) = await plane.ask(Ask(nonce="b1", kind=AskKind.BUILD, digest=good), "one")
        assert (answer.rehearsed.error, answer.rehearsed.fingerprint, answer.rebuilt) == (
            None,
            fingerprint,
            ("Client",),
        )
        (answer,) = await plane.ask(Ask(nonce="b2", kind=AskKind.BUILD, digest=bad), "one")
        assert "Client could not be built" in answer.rehearsed.error
        assert b"hunter2" not in encode(answer)
        (answer,) = await plane.ask(Ask(nonce="b3", kind=AskKind.BUILD, digest=unreadable), "one")
        assert "malformed" in answer.rehearsed.error
        assert (answer.report.status, answer.report.config_version) == (Status.APPLIED, 1)
        assert herz.get(Pool).size == 1


async def test_keys_that_a_higher_layer_decides_otherwise_are_reported(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    own = {"pool": {"timeout": "3s", "size": 4}, "name": "pay", "db.password": "other", "own": 1}
    async with herz_of(url(), own, NAME__X="1"):
        report = await plane.reported(lambda report: report.overrides)
        found = {one.key: (one.value, one.origin, one.released, one.released_at) for one in report.overrides}
        assert found == {
            "pool.size": ("4", "mapping", "1", f"{plane.app}/default:tenant@1:2"),
            "db.password": ("••••", "mapping", "••••", f"{plane.app}/default:tenant@1:6"),
            "name": ('{"x":"1"}', "env:NAME__X", "pay", f"{plane.app}/default:tenant@1:4"),
        }
        assert b"hunter2" not in encode(report)
        assert b"other" not in encode(report)


async def test_what_failed_is_reported_without_the_secrets_in_it(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with herz_of(url()):
        await plane.publish(BASE.replace("size: 1", "size: 13"))
        report = await plane.reported(lambda report: report.status is Status.FAILED)
        assert "Client could not be built" in report.error
        assert b"hunter2" not in encode(report)
        await plane.publish(BASE.replace("size: 1", "size: ${db.password}"))
        report = await plane.reported(lambda report: report.status is Status.FAILED and report.target == 3)
        assert b"hunter2" not in encode(report)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_release_that_is_wanted_next_is_not_blamed_for_the_one_before(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with herz_of(url()) as herz:
        await plane.publish(BASE.replace("size: 1", "size: 13"))
        await plane.reported(lambda report: report.status is Status.FAILED)
        herz.freeze()
        await plane.publish(BASE.replace("size: 1", "size: 2"))
        report = await plane.reported(lambda report: report.target == 3)
        assert (report.status, report.error, report.config_version) == (Status.APPLYING, None, 1)
        herz.thaw()
        report = await plane.reported(lambda report: report.config_version == 3)
        assert (report.status, report.target) == (Status.APPLIED, 3)
