"""Several models under one prefix, or one inside another's: a key that any of them reads is unknown to nobody."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest
from pydantic import BaseModel, ConfigDict

from herz import ConfigLoadError, Herz, MappingSource


@dataclass(frozen=True)
class Timing:
    timeout: int = 1


@dataclass(frozen=True)
class Retrying:
    retries: int = 3


@dataclass(frozen=True)
class Pool:
    size: int = 4


@dataclass(frozen=True)
class Whole:
    name: str = ""
    pool: Pool = field(default_factory=Pool)


@dataclass(frozen=True)
class PoolLimits:
    idle: int = 1


def warnings(herz: Herz) -> list[str]:
    return [notice.what for notice in herz.health().warnings]


@pytest.mark.parametrize("strict", [False, True])
def test_two_models_at_one_prefix_read_their_keys_side_by_side(strict: bool) -> None:
    herz = Herz(MappingSource({"service": {"timeout": 7, "retries": 5}}), environment={}, strict=strict)
    herz.properties("service")(Timing)
    herz.properties("service")(Retrying)
    with herz:
        assert (herz.get(Timing).timeout, herz.get(Retrying).retries) == (7, 5)
        assert warnings(herz) == []


@pytest.mark.parametrize("strict", [False, True])
def test_a_model_inside_the_prefix_of_another_shares_its_table(strict: bool) -> None:
    herz = Herz(MappingSource({"a": {"name": "x", "pool": {"size": 9, "idle": 2}}}), environment={}, strict=strict)
    herz.properties("a")(Whole)
    herz.properties("A.Pool")(PoolLimits)
    with herz:
        assert (herz.get(Whole).pool.size, herz.get(PoolLimits).idle) == (9, 2)
        assert warnings(herz) == []


def test_a_model_that_forbids_extra_keys_shares_its_prefix() -> None:
    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")
        timeout: int = 1

    herz = Herz(MappingSource({"service": {"timeout": 7, "retries": 5}}), environment={})
    herz.properties("service")(Closed)
    herz.properties("service")(Retrying)
    with herz:
        assert herz.get(Closed).timeout == 7
        assert herz.snapshot.bind(Closed, at="service").timeout == 7


def test_a_key_that_none_of_them_reads_is_unknown_in_any_case() -> None:
    herz = Herz(MappingSource({"service": {"timeuot": 7, "retries": 5}}, "memory"), environment={})
    herz.properties("service")(Timing)
    herz.properties("service")(Retrying)
    with herz:
        assert "service.timeuot: unknown key, did you mean 'timeout'? (memory)" in warnings(herz)


def test_an_unknown_key_is_logged_when_it_appears_and_once(caplog: pytest.LogCaptureFixture) -> None:
    def logged() -> list[str]:
        return [record.getMessage() for record in caplog.records if "unknown key" in record.getMessage()]

    source = MappingSource({"service": {"timeuot": 7}}, "memory")
    herz = Herz(source, environment={})
    herz.properties("service")(Timing)
    with herz, caplog.at_level(logging.WARNING, "herz"):
        assert logged() == ["service.timeuot: unknown key, did you mean 'timeout'? (memory)"]
        herz.wait_for(source.update({"service.timeout": 1}), 10)
        herz.wait_for(source.update({"service.timeout": 2}), 10)
        assert len(logged()) == 1
        herz.wait_for(source.update({"service.nonsense": 2}), 10)
        assert logged()[1:] == ["service.nonsense: unknown key (memory)"]


def test_strict_refuses_a_key_that_none_of_them_reads() -> None:
    herz = Herz(MappingSource({"service": {"timeuot": 7, "retries": 5}}), environment={}, strict=True)
    herz.properties("service")(Timing)
    herz.properties("service")(Retrying)
    with pytest.raises(ConfigLoadError, match="timeuot: unknown key, did you mean 'timeout'"):
        herz.start()


def test_a_change_under_a_shared_prefix_keeps_the_models_apart() -> None:
    source = MappingSource({"service": {"timeout": 7, "retries": 5}})
    herz = Herz(source, environment={}, strict=True)
    herz.properties("service")(Timing)
    herz.properties("service")(Retrying)
    with herz:
        herz.wait_for(lambda _: herz.state == "WATCHING", 10)
        timing = herz.get(Timing)
        source.update({"service.retries": 6})
        herz.wait_for(lambda snapshot: snapshot["service.retries"] == 6, 10)
        assert herz.get(Retrying).retries == 6
        assert herz.get(Timing) is timing
