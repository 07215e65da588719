"""What cannot work is told when it is declared, with the path drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from herz.errors import BindingError, CircularDependency, MissingProvider, NotRunning, UsageError
from herz.live.handle import Handle
from herz.live.scope import Scope


@dataclass
class DbConfig:
    url: str = "db"


class Pool:
    def __init__(self, url: str) -> None:
        self.url = url


class PaymentClient:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool


def make_pool(config: DbConfig) -> Pool:
    return Pool(config.url)


def test_a_missing_provider_is_told_when_declared() -> None:
    with pytest.raises(MissingProvider) as raised:
        Scope().declare(make_pool)
    assert str(raised.value) == (
        "make_pool(config: DbConfig) -> nothing provides DbConfig; decorate it with @herz.properties(prefix)"
    )


def test_a_missing_provider_is_told_with_the_path_to_it() -> None:
    class Client:
        def __init__(self, middle: "Middle") -> None: ...  # noqa: UP037

    class Middle:
        def __init__(self, config: DbConfig) -> None: ...

    scope = Scope()
    scope.declare(Client)
    with pytest.raises(MissingProvider) as raised:
        scope.declare(Middle)
    assert str(raised.value).startswith(
        "Client.__init__(middle: Middle) -> Middle.__init__(config: DbConfig) -> nothing provides DbConfig;"
    )
    assert raised.value.path == ("Client.__init__(middle: Middle)", "Middle.__init__(config: DbConfig)", "DbConfig")


def test_a_class_that_is_no_model_is_asked_for_in_the_scope() -> None:
    with pytest.raises(MissingProvider, match=r"nothing provides Pool; decorate it with @herz.refresh_scope"):
        Scope().declare(PaymentClient)


def test_what_failed_to_be_declared_can_be_declared_later() -> None:
    scope = Scope()
    with pytest.raises(MissingProvider):
        scope.declare(make_pool)
    scope.declare_properties(DbConfig, "db")
    scope.declare(make_pool)
    scope.declare(PaymentClient)
    assert [one.label for one in scope.providers.order] == ["make_pool", "PaymentClient.__init__"]


def test_a_cycle_is_told_when_it_closes() -> None:
    class A:
        def __init__(self, b: B) -> None: ...

    class B:
        def __init__(self, c: C) -> None: ...

    class C:
        def __init__(self, a: A) -> None: ...

    scope = Scope()
    scope.declare(A)
    scope.declare(B)
    with pytest.raises(CircularDependency) as raised:
        scope.declare(C)
    assert str(raised.value).startswith("A.__init__(b: B) -> B.__init__(c: C) -> C.__init__(a: A) -> A.__init__")
    assert raised.value.path == ("A", "B", "C", "A")
    assert "a: Handle[A]" in str(raised.value)


def test_an_object_that_needs_itself_is_a_cycle() -> None:
    class Node:
        def __init__(self, parent: Node) -> None: ...

    with pytest.raises(CircularDependency):
        Scope().declare(Node)


async def test_a_handle_breaks_a_cycle(driver: Any) -> None:
    class A:
        def __init__(self, b: Handle[B]) -> None:
            self.b = b

    class B:
        def __init__(self, a: A) -> None:
            self.a = a

    driver.scope.declare(A)
    driver.scope.declare(B)
    await driver.open({})
    assert driver.scope.get(A).b.current.a is driver.scope.get(A)


async def test_an_annotation_that_never_resolves_is_told_at_the_start(driver: Any) -> None:
    class Lost:
        def __init__(self, ghost: Ghost) -> None: ...  # type: ignore[name-defined] # noqa: F821

    driver.scope.declare(Lost)
    with pytest.raises(MissingProvider, match=r"Lost.__init__\(ghost: Ghost\) -> nothing provides Ghost"):
        await driver.open({})


def test_a_parameter_without_annotation_or_default_is_told() -> None:
    class Bare:
        def __init__(self, thing) -> None: ...

    with pytest.raises(MissingProvider, match=r"Bare.__init__\(thing\) -> nothing says what 'thing' is"):
        Scope().declare(Bare)


async def test_parameters_with_defaults_that_nobody_provides_are_left_out(driver: Any) -> None:
    class Tolerant:
        def __init__(
            self, config: Annotated[DbConfig, "x"], size: int = 5, other: Pool | None = None, *rest: int, **more: int
        ) -> None:
            self.config, self.size, self.other = config, size, other

    driver.scope.declare_properties(DbConfig, "db")
    driver.scope.declare(Tolerant)
    await driver.open({"db": {"url": "x"}})
    made = driver.scope.get(Tolerant)
    assert (made.config.url, made.size, made.other) == ("x", 5, None)


async def test_an_optional_parameter_is_filled_when_somebody_provides_it(driver: Any) -> None:
    class Later:
        pass

    class Tolerant:
        def __init__(self, later: Later | None = None, /) -> None:
            self.later = later

    driver.scope.declare(Tolerant)
    driver.scope.declare(Later)
    await driver.open({})
    assert driver.scope.get(Tolerant).later is driver.scope.get(Later)


def test_a_class_is_provided_once() -> None:
    scope = Scope()
    scope.declare_properties(DbConfig, "db")
    with pytest.raises(UsageError, match=r"DbConfig is provided twice: at .*test_scope_declaring.py:\d+ and at"):
        scope.declare_properties(DbConfig, "other")


def test_a_factory_must_say_what_it_provides() -> None:
    def nameless():
        return object()

    with pytest.raises(UsageError, match="does not say what it provides"):
        Scope().declare(nameless)
    Scope().declare(nameless, provides=object)


def test_generators_are_refused() -> None:
    def pool() -> Pool:
        yield Pool("")

    with pytest.raises(UsageError, match="is a generator"):
        Scope().declare(pool)


def test_an_unknown_option_is_told() -> None:
    with pytest.raises(UsageError, match="grace"):
        Scope().declare(object, grace=3)


async def test_what_nobody_provides_cannot_be_had(driver: Any) -> None:
    await driver.open({})
    with pytest.raises(MissingProvider, match="nothing provides Pool"):
        driver.scope.get(Pool)
    with pytest.raises(MissingProvider, match="nothing provides Pool"):
        driver.scope.handle(Pool)


async def test_nothing_can_be_had_before_the_start_and_after_the_stop(driver: Any) -> None:
    scope = driver.scope
    scope.declare_properties(DbConfig, "db")
    handle = scope.handle(DbConfig)
    with pytest.raises(NotRunning):
        scope.get(DbConfig)
    with pytest.raises(NotRunning):
        _ = handle.current
    with pytest.raises(NotRunning):
        _ = scope.snapshot
    await driver.open({})
    assert handle.current is scope.get(DbConfig)
    await scope.close()
    with pytest.raises(NotRunning):
        scope.get(DbConfig)
    with pytest.raises(NotRunning):
        _ = handle.current
    with pytest.raises(NotRunning):
        await driver.refresh({})


async def test_a_model_declared_while_running_is_bound_at_once(driver: Any) -> None:
    await driver.open({"db": {"url": "late"}})
    driver.scope.declare_properties(DbConfig, "db")
    driver.scope.declare(make_pool)
    assert driver.scope.get(Pool).url == "late"
    await driver.refresh({"db": {"url": "later"}})
    assert driver.scope.get(Pool).url == "later"


async def test_a_model_declared_while_running_that_does_not_fit_is_not_declared(driver: Any) -> None:
    @dataclass
    class Strict:
        size: int = 1

    await driver.open({"strict": {"size": "many"}})
    with pytest.raises(BindingError, match=r"strict\.size"):
        driver.scope.declare_properties(Strict, "strict")
    await driver.refresh({"strict": {"size": "more"}})
    await driver.refresh({"strict": {"size": 2}})
    driver.scope.declare_properties(Strict, "strict")
    assert driver.scope.get(Strict).size == 2


def test_one_handle_per_class() -> None:
    scope = Scope()
    scope.declare_properties(DbConfig, "db")
    assert scope.handle(DbConfig) is scope.handle(DbConfig)
