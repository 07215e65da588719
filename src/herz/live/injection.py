"""Injection: what a class or factory says it needs and provides, read from its signature.

Annotations may be text (`from __future__ import annotations`) and may name classes that are local to a function or
defined further down; each is resolved on its own, so that one which cannot be yet holds up no other.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from herz.errors import UsageError
from herz.live.handle import Handle

UNRESOLVED: Final[Any] = type("Unresolved", (), {"__repr__": lambda self: "UNRESOLVED"})()
"""Stands for an annotation that names something which is not defined yet."""


class Parameter(NamedTuple):
    """One parameter of a constructor or factory, as written."""

    name: str
    annotation: Any
    optional: bool
    positional: bool


class Need(NamedTuple):
    """What fills one parameter: an object of `wanted`, or the handle to it."""

    parameter: str
    wanted: Any
    handle: bool
    positional: bool


def parameters_of(factory: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters that injection may fill; `*args` and `**kwargs` are left out. `UsageError` without a signature."""
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{label(factory)} has no readable signature: {error}", remedy="wrap it in a function with annotations"
        ) from error
    annotations = _annotations(factory)
    return tuple(
        Parameter(
            one.name,
            annotations.get(one.name, one.annotation),
            one.default is not one.empty,
            one.kind is one.POSITIONAL_ONLY,
        )
        for one in signature.parameters.values()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    )


def _annotations(factory: Any) -> Mapping[str, Any]:
    return getattr(_function(factory), "__annotations__", {})


def _function(factory: Any) -> Any:
    """The Python function whose annotations and globals speak for `factory`."""
    if isinstance(factory, type):
        for method in ("__init__", "__new__"):
            found = getattr(factory, method)
            if isinstance(found, types.FunctionType):
                return inspect.unwrap(found)
        return factory
    while hasattr(factory, "func"):  # functools.partial
        factory = factory.func
    factory = inspect.unwrap(factory)
    if not isinstance(factory, (types.FunctionType, types.MethodType)):
        return getattr(type(factory), "__call__", factory)  # noqa: B004  the function itself is wanted
    return factory


def resolve(factory: Callable[..., Any], annotation: Any, declared: Mapping[str, Any]) -> Any:
    """What `annotation` of `factory` means, or `UNRESOLVED`.

    Text is looked up in the closure and globals of `factory`, then among the names in `declared`.
    """
    if annotation is inspect.Parameter.empty:
        return annotation
    function = _function(factory)
    names = dict(declared)
    module = sys.modules.get(getattr(factory, "__module__", None) or "")
    names.update(vars(module) if module is not None else {})
    names.update(getattr(function, "__globals__", {}))
    for name, cell in zip(
        getattr(getattr(function, "__code__", None), "co_freevars", ()),
        getattr(function, "__closure__", None) or (),
        strict=False,
    ):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # the enclosing function has not come to it yet
            continue
    try:
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]
    except (NameError, AttributeError):
        return UNRESOLVED
    except (TypeError, SyntaxError) as error:
        raise UsageError(f"{label(factory)}: annotation {annotation!r} cannot be read: {error}") from error


def wanted_of(annotation: Any) -> tuple[Any, bool]:
    """The class that an annotation asks for, and whether it asks for the handle to it.

    `Annotated[X, ...]` and `X | None` ask for X.
    """
    if get_origin(annotation) is Annotated:
        return wanted_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        others = [one for one in get_args(annotation) if one is not type(None)]
        if len(others) == 1:
            return wanted_of(others[0])
    if get_origin(annotation) is Handle:
        return wanted_of(get_args(annotation)[0])[0], True
    return annotation, False


def provided_by(factory: Callable[..., Any], declared: Mapping[str, Any]) -> Any:
    """The class that `factory` provides: itself, or what its return annotation names. `UsageError` when unclear."""
    if isinstance(factory, type):
        return factory
    annotation = resolve(factory, _annotations(factory).get("return", inspect.Parameter.empty), declared)
    if annotation is UNRESOLVED or annotation in (inspect.Parameter.empty, None, type(None), Any):
        raise UsageError(
            f"{label(factory)} does not say what it provides", remedy="annotate what it returns, or give provides="
        )
    provided, _ = wanted_of(annotation)
    if provided is not annotation and type(None) in get_args(annotation):
        raise UsageError(f"{label(factory)} may return None", remedy="a provider always returns an object")
    return provided


def is_async(factory: Any) -> bool:
    """Whether calling `factory` gives a coroutine. `UsageError` for generators, whose end nobody would reach."""
    function = inspect.unwrap(factory) if not isinstance(factory, type) else factory
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(
            f"{label(factory)} is a generator", remedy="return the object, and give close= for what follows the yield"
        )
    call = getattr(type(factory), "__call__", None)  # noqa: B004  its kind matters, not whether it is there
    return inspect.iscoroutinefunction(factory) or (not isinstance(factory, type) and inspect.iscoroutinefunction(call))


def short(kind: Any) -> str:
    """The name people know a class by: its qualified name, without the function it is local to."""
    name = getattr(kind, "__qualname__", None) or repr(kind)
    return str(name).rpartition("<locals>.")[2]


def label(factory: Any) -> str:
    """`PaymentClient.__init__` for a class, the name of a function."""
    if isinstance(factory, type):
        return f"{short(factory)}.__init__"
    while hasattr(factory, "func"):
        factory = factory.func
    return short(factory) if hasattr(factory, "__qualname__") else f"{short(type(factory))}.__call__"


def place_of(factory: Any) -> str:
    """`file:line` where a class or function is written; its module where that is not known."""
    function = _function(factory)
    if isinstance(factory, type):
        try:
            return f"{shown(inspect.getsourcefile(factory) or '?')}:{inspect.getsourcelines(factory)[1]}"
        except (OSError, TypeError):
            return str(getattr(factory, "__module__", "?"))
    code = getattr(function, "__code__", None)
    return f"{shown(code.co_filename)}:{code.co_firstlineno}" if code else str(getattr(factory, "__module__", "?"))


def shown(filename: str) -> str:
    """`filename` as people write it: relative when it lies under the working directory."""
    try:
        relative = os.path.relpath(filename)
    except (ValueError, OSError):  # another drive, or the working directory is gone
        return filename
    return filename if relative.startswith(os.pardir) else relative
