"""Bound instances cannot be changed, and are otherwise what their class makes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
import timeit
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any, ClassVar

import attrs
import msgspec
import pydantic
import pytest

from herz.errors import UsageError
from herz.live.binding import Binding, FrozenProperties


@dataclass
class DataPool:
    size: int = 4


@dataclass
class Data:
    retries: int = 3
    pool: DataPool = field(default_factory=DataPool)
    pools: list[DataPool] = field(default_factory=list)
    named: dict[str, DataPool] = field(default_factory=dict)

    @functools.cached_property
    def doubled(self) -> int:
        return self.retries * 2

    def note(self, text: str) -> None:
        self._note = text


@dataclass(slots=True)
class Slotted:
    retries: int = 3
    pool: DataPool = field(default_factory=DataPool)


@dataclass
class Abstract(Sized):
    retries: int = 3
    pool: DataPool = field(default_factory=DataPool)

    def __len__(self) -> int:
        return self.retries


@attrs.define
class Attrs:
    retries: int = 3
    pool: DataPool = attrs.field(factory=DataPool)


@attrs.define(slots=False)
class AttrsDict:
    retries: int = 3
    pool: DataPool = attrs.field(factory=DataPool)


class StructPool(msgspec.Struct):
    size: int = 4


class Struct(msgspec.Struct):
    retries: int = 3
    pool: StructPool = msgspec.field(default_factory=StructPool)

    def __post_init__(self) -> None:
        if self.retries < 0:
            self.retries = 0


class ModelPool(pydantic.BaseModel):
    size: int = 4


class Model(pydantic.BaseModel):
    retries: int = 3
    pool: ModelPool = ModelPool()
    _calls: int = pydantic.PrivateAttr(0)

    def call(self) -> int:
        self._calls += 1
        return self._calls


MUTABLE: list[Any] = [Data, Slotted, Abstract, Attrs, AttrsDict, Struct, Model]
TABLES: list[Any] = [{}, {"retries": 5, "pool": {"size": 2}}]


@pytest.mark.parametrize("model", MUTABLE)
@pytest.mark.parametrize("table", TABLES)
def test_assigning_and_deleting_fields_is_refused(model: Any, table: Any) -> None:
    value = Binding(model).bind(table).value
    for instance, name in ((value, "retries"), (value, "pool"), (value.pool, "size")):
        before = getattr(instance, name)
        with pytest.raises(AttributeError):
            setattr(instance, name, 9)
        with pytest.raises((AttributeError, TypeError)):
            delattr(instance, name)
        assert getattr(instance, name) == before


@pytest.mark.parametrize("model", [Data, Attrs, Model])
def test_the_refusal_says_what_to_do(model: Any) -> None:
    value = Binding(model).bind({}).value
    with pytest.raises(FrozenProperties, match="replaced whole, never changed; change the configuration") as caught:
        value.retries = 4
    assert isinstance(caught.value, UsageError)
    assert model.__name__ in str(caught.value)


@pytest.mark.parametrize("model", MUTABLE)
@pytest.mark.parametrize("table", TABLES)
def test_a_bound_instance_equals_and_prints_as_one_made_by_hand(model: Any, table: Any) -> None:
    value, made = Binding(model).bind(table).value, model()
    if table:
        pool = type(made.pool)
        made = model(retries=5, pool=pool(size=2))
    assert value == made
    assert made == value
    assert (value != made) is False
    assert value != model(retries=77)
    assert isinstance(value, model)
    assert value.__class__ is model or model is Struct
    assert repr(value) == repr(made)
    assert type(value).__name__ == model.__name__


@pytest.mark.parametrize("model", MUTABLE)
def test_copies_and_unpickled_instances_are_the_readers_own(model: Any) -> None:
    value = Binding(model).bind(TABLES[1]).value
    for own in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301
        assert own == value
        if model is not Model or type(own) is Model:
            own.retries = 8
            assert own.retries == 8
    assert value.retries == 5


def test_replace_gives_an_instance_that_may_be_changed() -> None:
    other = dataclasses.replace(Binding(Data).bind({}).value, retries=9)
    other.retries = 10
    assert type(other) is Data


def test_models_in_lists_and_tables_are_frozen_too() -> None:
    value = Binding(Data).bind({"pools": [{}], "named": {"a": {}}}).value
    for pool in (value.pools[0], value.named["a"]):
        with pytest.raises(FrozenProperties):
            pool.size = 1


def test_cached_properties_and_private_attributes_still_work() -> None:
    value = Binding(Data).bind({}).value
    value.note("x")
    assert (value.doubled, value.doubled, value._note) == (6, 6, "x")
    model = Binding(Model).bind({}).value
    assert (model.call(), model.call()) == (1, 2)


def test_pydantic_serialises_a_bound_model_without_warnings() -> None:
    value = Binding(Model).bind(TABLES[1]).value
    assert value.model_dump() == {"retries": 5, "pool": {"size": 2}}
    assert value.model_dump_json() == '{"retries":5,"pool":{"size":2}}'
    assert Model.model_validate(value) is value


def test_msgspec_serialises_a_bound_struct() -> None:
    assert msgspec.json.encode(Binding(Struct).bind(TABLES[1]).value) == b'{"retries":5,"pool":{"size":2}}'


class Ordered(msgspec.Struct, order=True):
    size: int = 1


def test_an_ordered_struct_compares_with_frozen_and_plain_ones() -> None:
    one, two = Binding(Ordered).bind({}).value, Binding(Ordered).bind({"size": 2}).value
    assert one < two <= two > one
    assert one < Ordered(2) >= two
    assert Ordered(1) <= one < Ordered(3) > two


def test_what_a_post_init_set_is_kept() -> None:
    assert Binding(Struct).bind({"retries": -4}).value.retries == 0


@dataclass(frozen=True)
class AlreadyFrozen:
    retries: int = 3


class Registered:
    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, **options: Any) -> None:
        cls.known.append(cls.__name__)


@dataclass
class Plugin(Registered):
    retries: int = 3


def test_classes_that_are_frozen_or_watch_their_subclasses_are_left_as_they_are() -> None:
    assert type(Binding(AlreadyFrozen).bind({}).value) is AlreadyFrozen
    plugin = Binding(Plugin).bind({}).value
    assert type(plugin) is Plugin
    assert Registered.known == ["Plugin"]


SHARED = ModelPool(size=8)


@attrs.define
class Sharing:
    pool: Any = SHARED
    other: ModelPool = SHARED


def test_an_object_that_is_a_shared_default_stays_as_it_is() -> None:
    value = Binding(Sharing).bind({}).value
    assert value.other is SHARED
    SHARED.size = 9
    SHARED.size = 8


@pytest.mark.slow
@pytest.mark.parametrize("model", [Data, Slotted, Attrs, Struct, Model])
def test_reading_a_frozen_instance_costs_what_reading_a_plain_one_costs(model: Any) -> None:
    def cost(instance: Any) -> float:
        space: dict[str, Any] = {"one": instance}
        # Compiled for each, for the interpreter specialises a read to the class it meets.
        exec("def read():\n    for _ in range(20_000): one.retries", space)  # noqa: S102
        return min(timeit.repeat(space["read"], number=1, repeat=20))

    for _ in range(5):  # a busy machine may lie, five times in a row it does not
        plain, frozen = cost(model()), cost(Binding(model).bind({}).value)
        if frozen <= plain * 1.15:
            return
    pytest.fail(f"{frozen / plain:.2f} times the plain read")
