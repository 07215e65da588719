"""What counts as a change of a bound model, and what waits for a restart."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import BindingError, UsageError
from herz.live.binding import Binding, ByteSize, Precision, RestartOnly, Secret
from herz.model.meaning import Kind

ONE_BYTE = ByteSize(1)
MS = Kind("duration", Decimal("0.001"))


@dataclass
class Pool:
    size: int = 4
    idle: Annotated[float, Precision("ms")] = 1.0


class Where(TypedDict, total=False):
    lag: Annotated[float, Precision("s")]


@dataclass
class Service:
    timeout: timedelta = timedelta(seconds=3)
    wait: Annotated[float, Precision("ms")] = 3.6
    step: float = field(default=1.0, metadata={"precision": "0.5"})
    ratio: float = 0.3
    count: int = 1
    limit: ByteSize | None = None
    token: Secret | None = None
    pool: Pool = field(default_factory=Pool)
    pools: list[Pool] = field(default_factory=list)
    named: dict[str, Pool] = field(default_factory=dict)
    times: dict[str, timedelta] = field(default_factory=dict)
    where: Where = field(default_factory=lambda: Where())
    anything: Any = None


BINDING = Binding(Service, "a")


def same(old: Any, new: Any) -> bool:
    return BINDING.same(BINDING.bind(old).value, BINDING.bind(new).value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, True),
        ({"timeout": "3s"}, {"timeout": "3000ms"}, True),
        ({"timeout": "3s"}, {}, True),
        ({"timeout": "3s"}, {"timeout": "3001ms"}, False),
        ({"wait": 3.6}, {"wait": 3.6004}, True),
        ({"wait": 3.6}, {"wait": 3.601}, False),
        ({"step": 1.0}, {"step": 1.2}, True),
        ({"step": 1.0}, {"step": 1.25}, False),
        ({"ratio": 0.1 + 0.2}, {"ratio": 0.3}, True),
        ({"ratio": 1000.0000001}, {"ratio": 1000}, True),
        ({"count": 10**16}, {"count": 10**16 + 1}, False),
        ({"limit": "1KiB"}, {"limit": 1024}, True),
        ({"limit": 1}, {"limit": None}, False),
        ({"token": "a"}, {"token": "a"}, True),
        ({"token": "a"}, {"token": "b"}, False),
        ({"pool": {"idle": 1}}, {"pool": {"idle": 1.0001}}, True),
        ({"pool": {"idle": 1}}, {"pool": {"idle": 1.001}}, False),
        ({"pools": [{"idle": 1}]}, {"pools": [{"idle": 1.0001}]}, True),
        ({"pools": [{}]}, {"pools": [{}, {}]}, False),
        ({"named": {"a": {"idle": 1}}}, {"named": {"a": {"idle": 1.0001}}}, True),
        ({"named": {"a": {}}}, {"named": {"b": {}}}, False),
        ({"where": {"lag": 1.0}}, {"where": {"lag": 1.2}}, True),
        ({"where": {"lag": 1.0}}, {"where": {}}, False),
        ({"anything": 1}, {"anything": True}, False),
        ({"anything": [1]}, {"anything": [True]}, False),
        ({"anything": {"a": 0.3}}, {"anything": {"a": 0.1 + 0.2}}, True),
        ({"anything": "3s"}, {"anything": "3000ms"}, False),
    ],
)
def test_instances_are_compared_by_meaning(old: Any, new: Any, expected: bool) -> None:
    assert same(old, new) is expected


@given(st.dictionaries(st.sampled_from(["timeout", "wait", "step", "ratio"]), st.floats(0, 1e6), max_size=4))
def test_an_instance_means_the_same_as_another_of_the_same_table(table: Any) -> None:
    assert same(table, dict(table))


def test_what_was_made_of_an_init_var_counts() -> None:
    @dataclass
    class Derived:
        base: dataclasses.InitVar[int] = 1

        def __post_init__(self, base: int) -> None:
            self.square = base * base

    binding = Binding(Derived)
    one, two = binding.bind({"base": 1}).value, binding.bind({"base": 2}).value
    assert not binding.same(one, two)
    assert binding.same(one, binding.bind({"base": "1"}).value)


class ModelDeclared(pydantic.BaseModel):
    a: float = pydantic.Field(1.0, json_schema_extra={"precision": "ms"})
    b: Annotated[float, Precision("0.01")] = 1.0
    c: timedelta | None = pydantic.Field(None, alias="waitTime")
    d: pydantic.ByteSize = pydantic.ByteSize(1)
    e: int = pydantic.Field(1, json_schema_extra={"restart_only": True})


class StructDeclared(msgspec.Struct, rename={"c": "waitTime"}):
    a: Annotated[float, msgspec.Meta(extra_json_schema={"precision": "ms"})] = 1.0
    b: Annotated[float, Precision("0.01")] = 1.0
    c: timedelta | None = None
    d: ByteSize = ByteSize(1)
    e: Annotated[int, RestartOnly] = 1


@attrs.define
class AttrsDeclared:
    a: float = attrs.field(default=1.0, metadata={"precision": "ms"})
    b: Annotated[float, Precision("0.01")] = 1.0
    c: timedelta | None = attrs.field(default=None, alias="waitTime")
    d: ByteSize = ONE_BYTE
    e: int = attrs.field(default=1, metadata={"restart_only": True})


@pytest.mark.parametrize("model", [ModelDeclared, StructDeclared, AttrsDeclared])
def test_every_family_declares_precision_sizes_and_restarts(model: Any) -> None:
    binding = Binding(model, "x")
    kinds = binding.kinds()
    assert {name: kinds[(name,)] for name in "abcd"} == {
        "a": MS,
        "b": Kind("number", Decimal("0.01")),
        "c": Kind("duration"),
        "d": Kind("size"),
    }
    assert kinds[("waittime",)] == Kind("duration")
    assert binding.restart_only == {("e",)}


def test_kinds_reach_into_nested_models_and_tables_with_free_names() -> None:
    assert BINDING.kinds() == {
        ("timeout",): Kind("duration"),
        ("wait",): MS,
        ("step",): Kind("number", Decimal("0.5")),
        ("limit",): Kind("size"),
        ("pool", "idle"): MS,
        ("named", "*", "idle"): MS,
        ("times", "*"): Kind("duration"),
        ("where", "lag"): Kind("duration", Decimal(1)),
    }
    assert BINDING.kind(("Named", "any.name", "IDLE")) == MS
    assert BINDING.kind(("time-out",)) == Kind("duration")
    assert BINDING.kind(("count",)) is None


def test_a_wrong_precision_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="neither a unit of time nor a positive step"):
        Precision("fast")

    @dataclass
    class Wrong:
        x: float = field(default=1.0, metadata={"precision": "-1"})

    with pytest.raises(UsageError, match=r"Wrong\.x: precision '-1'"):
        Binding(Wrong)


def test_fields_and_defaults_are_listed() -> None:
    binding = Binding(Pool)
    assert binding.paths() == (("size",), ("idle",))
    assert binding.defaults() == {("size",): 4, ("idle",): 1.0}


# --- restart only ---------------------------------------------------------------------------------


@dataclass
class Inner:
    port: Annotated[int, RestartOnly()] = 80
    name: str = "n"


@dataclass
class Server:
    workers: Annotated[int, RestartOnly] = 1
    timeout: timedelta = timedelta(seconds=3)
    inner: Inner = field(default_factory=Inner)
    by_name: dict[str, Inner] = field(default_factory=dict)
    checked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.timeout > timedelta(seconds=self.workers * 100):
            raise ValueError("too few workers for this timeout")
        self.checked.append(self.workers)


SERVER = Binding(Server, "s")


def test_a_restart_only_change_is_pending_and_the_rest_takes_effect() -> None:
    old = SERVER.bind({"WORKERS": 2, "inner": {"port": 1}})
    new = SERVER.bind({"workers": "4", "timeout": "9s", "inner": {"port": 2, "name": "m"}})
    assert SERVER.restart_only == {("workers",), ("inner", "port"), ("by_name",)}
    assert SERVER.pending_restart(old.value, new.value) == (("inner", "port"), ("workers",))
    held = SERVER.hold(old, new)
    assert (held.value.workers, held.value.timeout) == (2, timedelta(seconds=9))
    assert held.value.inner == Inner(1, "m")
    assert SERVER.pending_restart(old.value, held.value) == ()


def test_a_held_instance_was_validated_as_a_whole() -> None:
    old = SERVER.bind({"workers": 1})
    new = SERVER.bind({"workers": 9, "timeout": "800s"}, place=lambda path: "new.yml:1")
    with pytest.raises(BindingError, match="too few workers"):
        SERVER.hold(old, new)
    held = SERVER.hold(old, SERVER.bind({"workers": 9, "timeout": "80s"}))
    assert held.value.checked == [1]


def test_holding_goes_on_from_the_value_in_use() -> None:
    first = SERVER.bind({"workers": 1})
    second = SERVER.hold(first, SERVER.bind({"workers": 2}))
    third = SERVER.hold(second, SERVER.bind({"workers": 3}))
    assert (second.value.workers, third.value.workers) == (1, 1)
    assert SERVER.hold(second, back := SERVER.bind({"workers": 1, "timeout": 1})) is back


def test_a_restart_only_key_that_comes_or_goes_is_held_too() -> None:
    with_key, without = SERVER.bind({"workers": 5, "inner": {"port": 5}}), SERVER.bind({})
    assert SERVER.hold(with_key, without).value.workers == 5
    assert SERVER.hold(with_key, without).value.inner.port == 5
    assert SERVER.hold(without, with_key).value.workers == 1


def test_a_change_in_writing_alone_is_not_pending() -> None:
    assert SERVER.pending_restart(SERVER.bind({"workers": 2}).value, SERVER.bind({"workers": "2.0"}).value) == ()


def test_a_table_with_restart_only_fields_in_its_values_is_held_whole() -> None:
    old, new = SERVER.bind({"by-name": {"a": {"port": 1}}}), SERVER.bind({"byName": {"a": {"port": 2}, "b": {}}})
    assert SERVER.pending_restart(old.value, new.value) == (("by_name",),)
    assert SERVER.hold(old, new).value.by_name == {"a": Inner(1)}


def test_a_table_written_as_text_is_held_whole() -> None:
    old = SERVER.bind({"inner": '{"port": 1, "name": "x"}'})
    assert SERVER.hold(old, SERVER.bind({"inner": {"port": 2, "name": "y"}})).value.inner == Inner(1, "x")
    assert SERVER.hold(SERVER.bind({"inner": {"port": 2}}), old).value.inner == Inner(2)


def test_a_strict_model_with_another_inside_its_prefix_can_be_held() -> None:
    binding = Binding(Server, "s", strict=True)
    old, new = (
        binding.bind({"workers": count, "cache": {"x": 1}}, elsewhere=("S", "cache").__eq__, at=("S",))
        for count in (1, 2)
    )
    assert binding.hold(old, new).value.workers == 1


def test_the_place_of_a_held_value_is_where_it_was_written() -> None:
    old = SERVER.bind({"workers": 1}, place=lambda path: "old.yml:1")
    new = SERVER.bind({"workers": 9, "timeout": "10s"}, place=lambda path: "new.yml:2")
    held = SERVER.hold(old, new)
    assert (held.place(("s", "workers")), held.place(("s", "timeout"))) == ("old.yml:1", "new.yml:2")


def test_a_model_may_be_restart_only_as_a_whole() -> None:
    binding = Binding(Pool, "p", restart_only=True)
    old, new = binding.bind({"size": 1}), binding.bind({"size": 2, "idle": 7})
    assert binding.pending_restart(old.value, new.value) == (("idle",), ("size",))
    assert binding.hold(old, new).value == Pool(1)
