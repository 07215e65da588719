"""Frozen twins: instances that cannot be changed, of classes that can.

A bound instance is given a subclass of its class that refuses `instance.field = value`. Reading stays the plain
attribute read it was. `isinstance`, `==`, `repr` and `dataclasses.replace` behave as before; `instance.__class__` is
the declared class, `type(instance)` is the twin. A copy or an unpickled instance is of the declared class again, and
may be changed. Lists and dicts in fields keep their types: declare a tuple where even those must not change.

Left as they are: classes that are frozen already, that define `__init_subclass__` (which would notice the twin) or
have a metaclass of their own.
"""

from __future__ import annotations

import operator
from abc import ABCMeta
from collections.abc import Callable
from typing import Any, Final, NoReturn

from herz.errors import UsageError

_ORDERS: Final = ("__lt__", "__le__", "__gt__", "__ge__")


class FrozenProperties(UsageError, AttributeError):
    """Bound properties cannot be changed by assignment: change the configuration, or work on a copy."""


def freezer(model: Any, family: str, fields: tuple[str, ...]) -> Callable[[Any], Any] | None:
    """A function that returns its instance of `model` frozen; None when the class must be left as it is."""
    meta = type(model)
    if family == "msgspec":
        return _struct_freezer(model, fields) if _inherits(model, "__init_subclass__", "msgspec") else None
    if meta is type:
        make: Callable[..., Any] = type.__new__
    elif meta is ABCMeta or (family == "pydantic" and meta.__module__.startswith("pydantic.")):
        make = ABCMeta.__new__
    else:
        return None
    if not _inherits(model, "__init_subclass__", "pydantic", "typing") or _has(model, "__pydantic_init_subclass__"):
        return None
    try:
        twin: Any = make(meta, model.__name__, (model,), {**_namespace(model, fields), "__slots__": ()})
    except TypeError:  # the class forbids subclasses
        return None

    def freeze(instance: Any) -> Any:
        if type(instance) is model:
            _become(instance, twin)
        return instance

    return freeze


def _become(instance: Any, twin: Any) -> None:
    try:
        object.__setattr__(instance, "__class__", twin)
    except TypeError:  # a layout that cannot be exchanged: the instance stays as its author made it
        return
    attributes = getattr(instance, "__dict__", None)
    if type(attributes) is dict:
        # The exchange leaves a dict that shares its keys with the old class; reads through it take twice as long.
        object.__setattr__(instance, "__dict__", dict(attributes))


def _struct_freezer(model: Any, fields: tuple[str, ...]) -> Callable[[Any], Any] | None:
    namespace = _namespace(model, fields)
    del namespace["__setattr__"], namespace["__delattr__"]  # frozen=True does it in C
    namespace["__post_init__"] = lambda self: None  # it has run, on the instance that the twin is copied from
    if model.__struct_config__.eq:

        def equal(self: Any, other: Any) -> Any:
            if getattr(other, "__class__", None) is not model:
                return NotImplemented
            return all(getattr(self, name) == getattr(other, name) for name in fields)

        namespace["__eq__"] = equal
        namespace["__ne__"] = object.__ne__  # the inverse of it, as for every class but a struct
        namespace["__hash__"] = model.__hash__
    if model.__struct_config__.order:
        namespace |= {name: _ordering(getattr(operator, name), model, fields) for name in _ORDERS}
    try:
        twin: Any = type(model)(model.__name__, (model,), namespace, frozen=True)
    except (TypeError, ValueError):
        return None

    def freeze(instance: Any) -> Any:
        if type(instance) is not model:
            return instance
        return twin(**{name: getattr(instance, name) for name in fields})

    return freeze


def _ordering(compare: Callable[[Any, Any], Any], model: Any, fields: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """One comparison of ordered structs, which compare only with their own type in C."""

    def ordered(self: Any, other: Any) -> Any:
        if getattr(other, "__class__", None) is not model:
            return NotImplemented
        return compare(*(tuple(getattr(one, name) for name in fields) for one in (self, other)))

    return ordered


def _namespace(model: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    names: Final = frozenset(fields)

    def refuse(name: str) -> NoReturn:
        raise FrozenProperties(
            f"{model.__qualname__}.{name} cannot be assigned: bound properties are replaced whole, never changed",
            remedy="change the configuration, or work on a copy",
        )

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if name in names or not name.startswith("_"):
            refuse(name)
        model.__setattr__(self, name, value)  # private attributes are the class's own affair

    def delete_attribute(self: Any, name: str) -> None:
        if name in names or not name.startswith("_"):
            refuse(name)
        model.__delattr__(self, name)

    def reduce(self: Any, protocol: Any) -> Any:
        function, arguments, *rest = model.__reduce_ex__(self, protocol)
        twin = type(self)
        if function is twin:
            function = model
        return (function, tuple(model if one is twin else one for one in arguments), *rest)

    return {
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "__class__": property(lambda self: model),
        "__setattr__": set_attribute,
        "__delattr__": delete_attribute,
        "__reduce_ex__": reduce,
    }


def _inherits(model: Any, name: str, *modules: str) -> bool:
    """Whether `model` has `name` from Python or from `modules`, not from its own author."""
    for base in model.__mro__:
        if name in vars(base):
            return base is object or base.__module__.split(".")[0] in modules
    return True


def _has(model: Any, name: str) -> bool:
    return not _inherits(model, name, "pydantic")
