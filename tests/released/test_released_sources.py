"""The question after sources: what each instance reads from, how its watch sessions stand, and how they came there."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from herz import Herz
from herz.client import ControlPlane
from herz.model.snapshot import Snapshot
from herz.release.record import Record, decode, encode
from herz.release.report import Answer, Ask, AskKind, Asks, SourceState, SourceStep
from herz.sources.released_report import SOURCES, SOURCES_BYTES, told_of
from herz.testing.control_plane import ControlPlaneServer
from herz.testing.etcd_cluster import EtcdServer
from herz.testing.fault_proxy import FaultProxy
from herz.watch.core import State

PREFIX = "/config/pay/"
BASE = "name: pay\ndb:\n  password: hunter2\n"


def states_of(answer: Answer) -> dict[str, SourceState]:
    return {state.kind: state for state in answer.sources}


async def test_every_source_is_told_with_its_session_and_its_steps(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with Herz(url(), {"own": 1}, environment={}) as herz:
        await plane.reported(lambda report: True)
        (answer,) = await plane.ask(Ask(nonce="s1", sources=True), "one")
        rows = {row.name: row for row in herz.health().sources}
        assert {state.name for state in answer.sources} == set(rows)
        herz_state = states_of(answer)["herz"]
        assert (herz_state.state, herz_state.says, herz_state.error) == ("ACTIVE", "CURRENT", None)
        assert herz_state.revision == rows[herz_state.name].revision
        assert [step.state for step in herz_state.steps][-2:] == ["ACTIVE", "PENDING"]
        assert all(step.age_s >= 0 for step in herz_state.steps)
        assert answer.report.config_version == 1


async def test_who_does_not_ask_for_sources_is_told_none(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with Herz(url(), environment={}):
        await plane.reported(lambda report: True)
        (answer,) = await plane.ask(Ask(nonce="s2"), "one")
        assert answer.sources == ()


@pytest.mark.parametrize("kind", ["http"])
async def test_sources_are_asked_for_over_the_api(plane: Any, url: Any, served: ControlPlaneServer) -> None:
    await plane.publish(BASE)
    async with Herz(url(), environment={}), ControlPlane(served.url) as api:
        pay = api.namespace(plane.app)
        async with asyncio.timeout(20):  # those are asked of whom the server knows, not the store alone
            while not await pay.instances():
                await plane.reported(lambda report: True)
        (answer,) = await pay.ask("probe", sources=True, window_s=20)
        assert "herz" in states_of(answer)
        (answer,) = await pay.ask("probe", window_s=20)
        assert answer.sources == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["etcd", "http"])
async def test_a_cut_wire_is_told_as_it_happens_and_heals(plane: Any, url: Any, etcd: EtcdServer) -> None:
    await plane.publish(BASE)
    await etcd.put(f"{PREFIX}n", "1")
    with FaultProxy(etcd.endpoint) as wire:
        config = etcd.url(PREFIX, [wire.address], proof="300ms", dial="1s")
        async with Herz(url(), config, environment={}) as herz:
            await plane.reported(lambda report: True)
            wire.refuse()
            wire.cut()
            cut = await _asked(plane, "cut", lambda one: one.state == "BACKOFF" and one.says == "STALE")
            assert cut.age_s > 0.3
            assert cut.error is not None
            assert {"ACTIVE", "FAILED", "BACKOFF"} <= {step.state for step in cut.steps}
            assert all(step.reason for step in cut.steps if step.state == "FAILED")
            assert herz.snapshot["n"] == "1"  # what was good last goes on
            wire.heal()
            whole = await _asked(plane, "whole", lambda one: one.state == "ACTIVE" and one.says == "CURRENT")
            assert (whole.error, whole.reconnects > 0) == (None, True)
            assert "BACKOFF" in [step.state for step in whole.steps]


async def _asked(plane: Any, nonce: str, condition: Any) -> SourceState:
    """The state of the etcd source, asked for again and again until it is so."""
    async with asyncio.timeout(20):
        for number in range(10_000):
            (answer,) = await plane.ask(Ask(nonce=f"{nonce}-{number}", sources=True), "one")
            state = states_of(answer)["etcd"]
            if condition(state):
                return state
            await asyncio.sleep(0.05)
    raise AssertionError


# --- what is told -----------------------------------------------------------------------------------


@pytest.fixture
def snapshot() -> Snapshot:
    with Herz({"db.password": "hunter2", "a": 1}, environment={}) as herz:
        return herz.snapshot


def state(**more: Any) -> SourceState:
    return SourceState(name="here", state="BACKOFF", says="STALE", age_s=1.0, **more)


def test_what_is_told_of_sources_holds_no_secret(snapshot: Snapshot) -> None:
    step = SourceStep(state="FAILED", says="STALE", age_s=1.0, reason="http://ada:pw@host said hunter2")
    (told,) = told_of([state(error="token=abc at etcd://u:p@w@host, and hunter2", steps=(step,))], snapshot)
    assert told.error == "token=•••• at etcd://••••@host, and ••••"
    assert told.steps[0].reason == "http://••••@host said ••••"


def test_the_steps_of_many_sources_are_cut_to_what_fits_an_answer(snapshot: Snapshot) -> None:
    step = SourceStep(state=str(State.FAILED), says="STALE", age_s=1.0, reason="x" * 5_000)
    told = told_of([state(error="x" * 50_000, steps=(step,) * 16)] * (SOURCES + 10), snapshot)
    assert len(told) == SOURCES
    assert len(msgspec.json.encode(told)) < SOURCES_BYTES
    assert told[0].steps
    assert told[0].state == "BACKOFF"


def test_a_few_sources_are_told_with_all_their_steps(snapshot: Snapshot) -> None:
    steps = tuple(SourceStep(state="FAILED", says="STALE", age_s=n) for n in range(16))
    (told,) = told_of([state(steps=steps)], snapshot)
    assert told.steps == steps


# --- older programs ---------------------------------------------------------------------------------


class OldKind(StrEnum):
    PROBE = "probe"
    EXPLAIN = "explain"
    BUILD = "build"


class OldAsk(Record, frozen=True, kw_only=True):
    nonce: str
    kind: OldKind = OldKind.PROBE
    keys: tuple[str, ...] = ()


class OldAsks(Record, frozen=True, kw_only=True):
    open: tuple[OldAsk, ...] = ()


class OldAnswer(Record, frozen=True, kw_only=True):
    nonce: str
    instance: str


def test_an_older_instance_reads_the_question_as_one_that_it_knows() -> None:
    asks = Asks(open=(Ask(nonce="a", sources=True), Ask(nonce="b", kind=AskKind.EXPLAIN, keys=("x",))))
    old = decode(encode(asks), OldAsks, "asks")
    assert old.open == (OldAsk(nonce="a"), OldAsk(nonce="b", kind=OldKind.EXPLAIN, keys=("x",)))


def test_an_older_server_that_writes_the_questions_again_leaves_one_that_every_instance_knows() -> None:
    old = decode(encode(Asks(open=(Ask(nonce="a", sources=True),))), OldAsks, "asks")
    assert decode(encode(old), Asks, "asks") == Asks(open=(Ask(nonce="a"),))


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_an_answer_with_sources_is_read_by_an_older_server_and_one_without_by_this(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with Herz(url(), environment={}):
        await plane.reported(lambda report: True)
        (answer,) = await plane.ask(Ask(nonce="s3", sources=True), "one")
    assert answer.sources
    assert decode(encode(answer), OldAnswer, "answer") == OldAnswer(nonce="s3", instance="one")
    without = {name: value for name, value in msgspec.json.decode(encode(answer)).items() if name != "sources"}
    assert decode(msgspec.json.encode(without), Answer, "answer").sources == ()
