"""One table fills a dataclass, an attrs class, a msgspec struct and a pydantic model alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herz.errors import BindingError, UsageError
from herz.live.binding import Binding, Bound, ByteSize, FrozenProperties, Secret, defaults
from herz.model.number import WrittenFloat
from herz.model.tree import ABSENT, persistent

from ..conftest import examples

TEN = ByteSize(10)


class Colour(Enum):
    RED = "red"
    DARK_BLUE = "dark"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class DataPool:
    size: int = 4
    idle: timedelta = timedelta(seconds=1)


@dataclass
class Data:
    name: str = "n"
    retries: int = 3
    ratio: float = 0.5
    enabled: bool = True
    timeout: timedelta = timedelta(seconds=3)
    limit: ByteSize = TEN
    hosts: list[str] = field(default_factory=list)
    ports: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    limits: dict[str, timedelta] = field(default_factory=dict)
    mode: Literal["fast", "slow", 3] = "fast"
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    home: Path = Path("/")
    price: Decimal = Decimal(1)
    token: Secret | None = None
    either: int | str = 0
    pool: DataPool = field(default_factory=DataPool)
    pools: list[DataPool] = field(default_factory=list)
    named: dict[str, DataPool] = field(default_factory=dict)
    spare: DataPool | None = None


@attrs.define
class AttrsPool:
    size: int = 4
    idle: timedelta = timedelta(seconds=1)


@attrs.define
class Attrs:
    name: str = "n"
    retries: int = 3
    ratio: float = 0.5
    enabled: bool = True
    timeout: timedelta = timedelta(seconds=3)
    limit: ByteSize = TEN
    hosts: list[str] = attrs.field(factory=list)
    ports: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    limits: dict[str, timedelta] = attrs.field(factory=dict)
    mode: Literal["fast", "slow", 3] = "fast"
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    home: Path = Path("/")
    price: Decimal = Decimal(1)
    token: Secret | None = None
    either: int | str = 0
    pool: AttrsPool = attrs.field(factory=AttrsPool)
    pools: list[AttrsPool] = attrs.field(factory=list)
    named: dict[str, AttrsPool] = attrs.field(factory=dict)
    spare: AttrsPool | None = None


class StructPool(msgspec.Struct):
    size: int = 4
    idle: timedelta = timedelta(seconds=1)


class Struct(msgspec.Struct):
    name: str = "n"
    retries: int = 3
    ratio: float = 0.5
    enabled: bool = True
    timeout: timedelta = timedelta(seconds=3)
    limit: ByteSize = TEN
    hosts: list[str] = []
    ports: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    limits: dict[str, timedelta] = {}
    mode: Literal["fast", "slow", 3] = "fast"
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    home: Path = Path("/")
    price: Decimal = Decimal(1)
    token: Secret | None = None
    either: int | str = 0
    pool: StructPool = msgspec.field(default_factory=StructPool)
    pools: list[StructPool] = []
    named: dict[str, StructPool] = {}
    spare: StructPool | None = None


class ModelPool(pydantic.BaseModel):
    size: int = 4
    idle: timedelta = timedelta(seconds=1)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    name: str = "n"
    retries: int = 3
    ratio: float = 0.5
    enabled: bool = True
    timeout: timedelta = timedelta(seconds=3)
    limit: ByteSize = TEN
    hosts: list[str] = []
    ports: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    limits: dict[str, timedelta] = {}
    mode: Literal["fast", "slow", 3] = "fast"
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    home: Path = Path("/")
    price: Decimal = Decimal(1)
    token: Secret | None = None
    either: int | str = 0
    pool: ModelPool = ModelPool()
    pools: list[ModelPool] = []
    named: dict[str, ModelPool] = {}
    spare: ModelPool | None = None


FAMILIES: tuple[Any, ...] = (Data, Attrs, Struct, Model)
BINDINGS = {model: Binding(model, "app.service") for model in FAMILIES}
POOLS = (DataPool, AttrsPool, StructPool, ModelPool)


def plain(value: Any) -> Any:
    """Instances as dicts of their fields, to compare them across families."""
    if isinstance(value, POOLS + FAMILIES):
        names = [one.name for one in dataclasses.fields(DataPool if isinstance(value, POOLS) else Data)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return type(value), value


def outcome(model: Any, table: Any) -> Any:
    try:
        return plain(BINDINGS[model].bind(table, place=lambda path: "app.yml:" + "/".join(path)).value)
    except BindingError as error:
        return set(error.problems)


TEXTS = """3s|3000ms|PT3S|1h30m|10MiB|5 kB|3|3.0|-1|1e3|true|No|on|a,b|1, 2|[1, 2]|["a"]|{}|fast|red|DARK-BLUE|high
null|[|/tmp|{"size": "3", "idle": "4s"}""".replace("\n", "|").split("|")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(TEXTS),
    st.just(WrittenFloat("10000000000000001.0")),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["size", "idle", "Size", "0", "1", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
tables = st.dictionaries(st.sampled_from([one.name for one in dataclasses.fields(Data)]), values, max_size=6)


@given(tables)
@settings(max_examples=examples(400))
def test_the_same_table_gives_equal_fields_or_the_same_problems_in_all_four_families(table: Any) -> None:
    expected = outcome(Data, table)
    for model in (Attrs, Struct, Model):
        assert outcome(model, table) == expected


FULL = {
    "name": "pay",
    "retries": "4",
    "ratio": "0.25",
    "enabled": "no",
    "timeout": "1m30s",
    "limit": "10MiB",
    "hosts": "a, b",
    "ports": "[80, 443]",
    "pair": [1, "x"],
    "tags": ["t"],
    "limits": {"a": "3s", "b": 2},
    "mode": "3",
    "colour": "dark-blue",
    "level": "high",
    "home": "/srv",
    "price": WrittenFloat("10000000000000001.0"),
    "token": "geheim",
    "either": "5",
    "pool": {"size": "9", "idle": "PT1S"},
    "pools": [{"size": 1}, {"idle": "2s"}],
    "named": {"a": {"size": 2}},
    "spare": {"size": 5},
}


@pytest.mark.parametrize("model", FAMILIES)
def test_every_field_of_a_full_table_is_typed(model: Any) -> None:
    value = BINDINGS[model].bind(FULL).value
    assert isinstance(value, model)
    assert (value.name, value.retries, value.ratio, value.enabled) == ("pay", 4, 0.25, False)
    assert (value.timeout, value.limit) == (timedelta(seconds=90), 10 * 2**20)
    assert (value.hosts, value.ports, value.pair, value.tags) == (["a", "b"], (80, 443), (1, "x"), frozenset("t"))
    assert value.limits == {"a": timedelta(seconds=3), "b": timedelta(seconds=2)}
    assert (value.mode, value.colour, value.level, value.home) == (3, Colour.DARK_BLUE, Level.HIGH, Path("/srv"))
    assert value.price == Decimal("10000000000000001")
    assert value.token == Secret("geheim")
    assert value.either == "5"
    assert (value.pool.size, value.pool.idle) == (9, timedelta(seconds=1))
    assert [(pool.size, pool.idle.seconds) for pool in value.pools] == [(1, 1), (4, 2)]
    assert (value.named["a"].size, value.spare.size) == (2, 5)


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("table", [{}, ABSENT, None], ids=["empty", "absent", "null"])
def test_a_model_without_any_key_is_made_of_its_defaults(model: Any, table: Any) -> None:
    assert plain(BINDINGS[model].bind(table).value) == plain(defaults(model)) == plain(model())


def test_persistent_maps_are_tables_like_dicts() -> None:
    table = persistent({"retries": 5, "pool": persistent({"size": 7})})
    assert BINDINGS[Data].bind(table).value == Data(retries=5, pool=DataPool(size=7))


@pytest.mark.parametrize("model", FAMILIES)
def test_what_an_instance_holds_is_no_part_of_the_table(model: Any) -> None:
    table = {"hosts": ["a"], "limits": {"a": 1}}
    value = BINDINGS[model].bind(table).value
    value.hosts.append("b")
    value.limits["b"] = timedelta()
    assert table == {"hosts": ["a"], "limits": {"a": 1}}


# --- what each family's own declarations say ------------------------------------------------------


@dataclass
class Initialised:
    low: int = 0
    high: int = 10
    password: dataclasses.InitVar[str] = ""
    span: int = field(init=False)
    digest: int = field(init=False)

    def __post_init__(self, password: str) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        self.span = self.high - self.low
        self.digest = len(password)


def test_a_dataclass_runs_its_post_init_with_its_init_vars() -> None:
    value = Binding(Initialised).bind({"high": "30", "password": "abc"}).value
    assert (value.span, value.digest) == (30, 3)


def test_fields_that_the_constructor_does_not_take_are_unknown_keys() -> None:
    assert "unknown key" in Binding(Initialised, "a").bind({"span": 3}).unknown[0]


def upper(value: str) -> str:
    return value.upper()


@attrs.define
class Converted:
    _hidden: int = 1
    letters: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    words: list[str] = attrs.field(factory=list, converter=lambda text: text.split(";") if text else [])
    shout: str = attrs.field(default="", converter=upper)
    even: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    other: int = attrs.field(default=0, alias="second")


def test_attrs_converters_get_the_type_they_ask_for_and_the_value_as_written_when_they_do_not_say() -> None:
    value = (
        Binding(Converted)
        .bind({"hidden": "4", "letters": "a,b", "words": "x;y", "shout": "hey", "even": "2", "second": "8"})
        .value
    )
    assert value == Converted(hidden=4, letters="ab", words="x;y", shout="hey", even=2, second=8)  # type: ignore[arg-type]


def test_attrs_validators_run_and_name_the_key_of_their_field() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Converted, "a").bind({"EVEN": -2}, place=lambda path: "x.yml:1")
    assert caught.value.problems == ("a.EVEN: 'even' must be >= 0: -2 (x.yml:1)",)


class Constrained(msgspec.Struct, rename="camel", tag_field="kind", tag="small"):
    max_size: Annotated[int, msgspec.Meta(ge=0, lt=10)] = 1
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=3)] = "a"
    when: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Other(msgspec.Struct, tag_field="kind", tag="large"):
    size: int = 0


class Choosing(msgspec.Struct, forbid_unknown_fields=True):
    one: Constrained | Other = msgspec.field(default_factory=Other)


def test_msgspec_constraints_are_kept_and_renamed_fields_found() -> None:
    binding = Binding(Constrained, "a")
    assert binding.bind({"maxSize": "9", "code": "ab", "kind": "small"}).value.max_size == 9
    with pytest.raises(BindingError) as caught:
        binding.bind({"max_size": 10, "code": "A", "when": "2026-01-01T00:00:00", "kind": "large"})
    assert caught.value.problems == (
        "a.max_size: expected a whole number less than 10, got 10",
        'a.code: expected text that matches ^[a-z]+$, got "A"',
        'a.when: expected a date and time with a time zone: True, got "2026-01-01T00:00:00"',
        'a.kind: expected "small", got "large"',
    )


def test_a_tagged_union_is_decided_by_its_tag() -> None:
    binding = Binding(Choosing)
    assert binding.bind({"one": {"kind": "large", "size": 3}}).value.one == Other(3)
    assert binding.bind({"one": {"kind": "small", "max-size": 3}}).value.one == Constrained(3)


def test_a_struct_that_forbids_unknown_fields_is_strict() -> None:
    with pytest.raises(BindingError, match=r"a\.two: unknown key"):
        Binding(Choosing, "a").bind({"two": 1})


class Aliased(pydantic.BaseModel):
    size: int = pydantic.Field(1, gt=0, alias="poolSize")
    url: pydantic.AnyHttpUrl | None = None
    words: list[str] = []
    names: set[str] = pydantic.Field(set(), validation_alias=pydantic.AliasChoices("aliases", "nick-names"))

    @pydantic.field_validator("words", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(";") if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Aliased:
        if self.size > 100 and not self.url:
            raise ValueError("a large pool needs a url")
        return self


def test_pydantic_aliases_validators_and_types_count() -> None:
    value = Binding(Aliased).bind({"POOL_SIZE": "3", "url": "http://x", "words": "a;b", "nickNames": "n,m"}).value
    assert (value.size, str(value.url), value.words, value.names) == (3, "http://x/", ["a", "b"], {"n", "m"})
    assert Binding(Aliased).bind({"size": 4, "aliases": "x"}).value.names == {"x"}


def test_pydantic_problems_have_key_and_place() -> None:
    binding = Binding(Aliased, "a")
    with pytest.raises(BindingError) as caught:
        binding.bind({"pool-size": "-3", "url": "nonsense"}, place=lambda path: f"x.yml:{len(path)}")
    assert caught.value.problems == (
        'a.pool-size: expected a whole number greater than 0, got "-3" (x.yml:2)',
        'a.url: expected URL, relative URL without a base, got "nonsense" (x.yml:2)',
    )
    with pytest.raises(BindingError) as caught:
        binding.bind({"poolsize": 101}, place=lambda path: f"x.yml:{len(path)}")
    assert caught.value.problems == ("a: a large pool needs a url (x.yml:1)",)


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    naps: timedelta = timedelta(hours=1)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    barks: int = pydantic.Field(3, ge=0)


class Zoo(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    pet: Cat | Dog = pydantic.Field(Cat(), discriminator="kind")
    pets: list[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]] = []
    pool: DataPool = DataPool()
    by_name: dict[str, Dog] = {}


def test_pydantic_unions_of_models_are_decided_by_pydantic_on_typed_values() -> None:
    value = (
        Binding(Zoo)
        .bind(
            {
                "pet": {"kind": "dog", "barks": "5"},
                "pets": [{"naps": "3s", "kind": "cat"}, {"barks": 1, "kind": "dog"}],
                "extra": {"a": 1},
            }
        )
        .value
    )
    assert value.pet == Dog(barks=5)
    assert value.pets == [Cat(naps=timedelta(seconds=3)), Dog(barks=1)]
    assert value.model_extra == {"extra": {"a": 1}}


def test_a_dataclass_in_a_pydantic_model_is_filled_with_the_same_rules() -> None:
    assert Binding(Zoo).bind({"pool": {"SIZE": "3", "idle": "2s"}}).value.pool == DataPool(3, timedelta(seconds=2))


def test_problems_inside_lists_and_named_tables_name_their_whole_key() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Zoo, "z").bind(
            {"by-name": {"rex": {"BARKS": -1}}, "pets": [{"kind": "cat"}, {"kind": "dog", "Barks": -2}]}
        )
    assert caught.value.problems == (
        "z.pets.1.Barks: expected a value greater than or equal to 0, got -2",
        "z.by-name.rex.BARKS: expected a whole number greater than or equal to 0, got -1",
    )


class Numbers(pydantic.RootModel[dict[str, timedelta]]):
    pass


def test_a_root_model_is_the_whole_table() -> None:
    assert Binding(Numbers, "a").bind({"x": "3s"}).value.root == {"x": timedelta(seconds=3)}
    with pytest.raises(BindingError, match=r'a\.x: expected a duration, got "y"'):
        Binding(Numbers, "a").bind({"x": "y"})


@pydantic.dataclasses.dataclass
class Checked:
    size: int = pydantic.Field(1, gt=0, alias="poolSize")
    idle: timedelta = timedelta(seconds=1)


def test_a_pydantic_dataclass_is_validated_by_pydantic() -> None:
    value = Binding(Checked, "a").bind({"pool-size": "3", "idle": "2s"}).value
    assert isinstance(value, Checked)
    assert (value.size, value.idle) == (3, timedelta(seconds=2))
    with pytest.raises(BindingError, match=r"a\.size: expected a whole number greater than 0, got 0"):
        Binding(Checked, "a").bind({"size": 0})


class Where(TypedDict, total=False):
    host: str
    wait: timedelta


@dataclass
class WithTypedDict:
    where: Where = field(default_factory=lambda: Where())


def test_a_typed_dict_becomes_a_dict_of_typed_values() -> None:
    assert Binding(WithTypedDict).bind({"where": {"HOST": "h", "wait": "1s"}}).value.where == {
        "host": "h",
        "wait": timedelta(seconds=1),
    }


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)
    next: Node | None = None


def test_a_model_may_contain_itself() -> None:
    table = {"name": "a", "children": [{"name": "b", "next": {"name": "c"}}]}
    assert Binding(Node).bind(table).value == Node("a", [Node("b", [], Node("c"))])
    with pytest.raises(BindingError, match=r"x\.children\.0\.name: missing"):
        Binding(Node, "x").bind({"name": "a", "children": [{}]})


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    item: T | None = None
    items: list[T] = field(default_factory=list)


@dataclass
class Boxes(Generic[T]):
    numbers: Box[int] = field(default_factory=Box)
    times: Box[timedelta] = field(default_factory=Box)
    others: Box[T] = field(default_factory=Box)


def test_a_generic_model_is_filled_by_its_arguments() -> None:
    table = {"numbers": {"item": "3"}, "times": {"items": "3s,4s"}, "others": {"item": "5"}}
    value = Binding(Boxes[int]).bind(table).value
    assert (value.numbers.item, value.times.items, value.others.item) == (
        3,
        [timedelta(seconds=3), timedelta(seconds=4)],
        5,
    )
    with pytest.raises(FrozenProperties):
        value.numbers.item = 4


def test_what_is_nested_too_deeply_is_an_error_like_others() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(BindingError, match="a: nested too deeply"):
        Binding(Scalars, "a").bind({"anything": deep})


Port = NewType("Port", int)


@dataclass
class Scalars:
    port: Port = Port(1)
    day: date | None = None
    at: time | None = None
    moment: datetime | None = None
    key: UUID | None = None
    address: IPv4Address | None = None
    anything: Any = None
    url: pydantic.AnyUrl | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    lock: threading_lock | None = None


class threading_lock:
    pass


def test_other_types_are_made_of_the_text_that_writes_them() -> None:
    value = (
        Binding(Scalars)
        .bind(
            {
                "port": "80",
                "day": "2026-01-31",
                "at": "08:30",
                "moment": "2026-01-31T08:30:00Z",
                "key": "12345678-1234-5678-1234-567812345678",
                "address": "10.0.0.1",
                "anything": {"a": [WrittenFloat("10000000000000001.0"), "x"]},
                "url": "http://x/y",
                "raw": {"a": {"b": 1}, "password": "p"},
            }
        )
        .value
    )
    assert (value.port, value.day, value.at) == (80, date(2026, 1, 31), time(8, 30))
    assert value.moment == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
    assert (value.key, value.address) == (UUID("12345678-1234-5678-1234-567812345678"), IPv4Address("10.0.0.1"))
    assert value.anything == {"a": [1e16, "x"]}
    assert type(value.anything["a"][0]) is float
    assert str(value.url) == "http://x/y"
    assert value.raw == {"a": {"b": 1}, "password": Secret("p")}


def test_a_type_that_no_configuration_can_be_is_only_refused_when_a_key_is_set() -> None:
    assert Binding(Scalars).bind({}).value.lock is None
    with pytest.raises(BindingError, match="configuration cannot be made into a threading_lock"):
        Binding(Scalars, "a").bind({"lock": "x"})


def test_what_is_no_model_is_refused_when_declared() -> None:
    with pytest.raises(UsageError, match="is not a model"):
        Binding(int, "a")


def test_an_annotation_that_cannot_be_resolved_is_refused_when_declared() -> None:
    @dataclass
    class Lost:
        x: Nowhere  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(UsageError, match=r"annotation of .*Lost cannot be resolved"):
        Binding(Lost)


def test_names_local_to_a_function_may_be_handed_in() -> None:
    @dataclass
    class Inner:
        x: int = 1

    @dataclass
    class Outer:
        inner: Inner = field(default_factory=Inner)

    assert Binding(Outer, localns=locals()).bind({"inner": {"x": "2"}}).value.inner.x == 2


def test_two_fields_that_are_one_key_are_refused_when_declared() -> None:
    @dataclass
    class Twice:
        max_size: int = 0
        maxSize: int = 0

    with pytest.raises(UsageError, match="same key in relaxed spelling"):
        Binding(Twice)


def test_a_bound_says_which_keys_it_read() -> None:
    bound: Bound[Data] = BINDINGS[Data].bind({"Retries": 1, "pool": {"SIZE": 2, "x": 1}, "named": {"a": {"idle": 1}}})
    assert bound.read == {("Retries",), ("pool", "SIZE"), ("named",), ("named", "a", "idle")}
