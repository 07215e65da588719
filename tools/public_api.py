"""Print the public API, one line for each name and signature, sorted.

`tests/repository/public_api.txt` keeps it, so that a change of the API is a change that a reviewer
sees. `make api` accepts the API as it is now.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
import types
from collections.abc import Callable, Iterator

PUBLIC_MODULES = ("herz", "herz.client", "herz.errors", "herz.testing")

# Methods with underscores that are part of how an object is used.
PROTOCOL_METHODS = {
    *("__call__", "__contains__", "__getitem__", "__iter__", "__len__", "__next__", "__enter__", "__exit__"),
    *("__await__", "__aiter__", "__anext__", "__aenter__", "__aexit__"),
}


def public_names(module: types.ModuleType) -> list[str]:
    """What `__all__` lists; without it, the classes and functions that the module itself defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


class AsWritten(str):
    """An annotation that prints as it stands in the source, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(function: Callable[..., object]) -> str:
    """The signature as written, `(...)` where Python cannot tell."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [
        parameter.replace(annotation=AsWritten(parameter.annotation))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in found.parameters.values()
    ]
    returns = found.return_annotation
    text = str(
        found.replace(
            parameters=parameters, return_annotation=AsWritten(returns) if isinstance(returns, str) else returns
        )
    )
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # a function as a default prints its address


def class_lines(path: str, cls: type) -> Iterator[str]:
    """The class with its constructor and bases, then what it defines itself, without what it inherits."""
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    constructor = "" if issubclass(cls, enum.Enum) else signature(cls)
    yield f"class {path}{constructor}" + (f": {bases}" if bases else "")
    if issubclass(cls, enum.Enum):
        yield from (f"{path}.{member.name} = {member.value!r}" for member in cls)
    attributes = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    for name, value in sorted(vars(cls).items()):
        if name.startswith("_") and name not in PROTOCOL_METHODS:
            continue
        if isinstance(value, property):
            returns = inspect.signature(value.fget).return_annotation if value.fget else inspect.Signature.empty
            known = returns is not inspect.Signature.empty
            yield f"{path}.{name}: {returns if known else '...'} (property)"
        elif isinstance(value, (classmethod, staticmethod)):
            yield f"{type(value).__name__} {path}.{name}{signature(value.__func__)}"
        elif inspect.isfunction(value):
            yield function_line(f"{path}.{name}", value)
        elif inspect.ismemberdescriptor(value):
            attributes.add(name)
    yield from (f"{path}.{name} (attribute)" for name in sorted(attributes) if not name.startswith("_"))


def function_line(path: str, function: types.FunctionType) -> str:
    """The function with its signature, marked when it is awaited."""
    return f"{'async def' if inspect.iscoroutinefunction(function) else 'def'} {path}{signature(function)}"


def render() -> str:
    """The whole public API, a paragraph for each module."""
    paragraphs = []
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        lines = [f"# {module_name}"]
        for name in public_names(module):
            value, path = getattr(module, name), f"{module_name}.{name}"
            defined = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
            if defined != path and defined.rpartition(".")[0] in PUBLIC_MODULES:
                lines.append(f"{path} = {defined}")
            elif inspect.isclass(value):
                lines += class_lines(path, value)
            elif inspect.isfunction(value):
                lines.append(function_line(path, value))
            elif not inspect.ismodule(value):
                lines.append(f"{path}: {type(value).__name__}")
        paragraphs.append("\n".join(lines) + "\n")
    return "\n".join(paragraphs)


if __name__ == "__main__":
    print(render(), end="")
