"""Referrers: where in the program an object is kept, told in the words of the program.

Finds module globals, class and instance attributes, closure variables, defaults, elements of containers, local
variables of running functions and of suspended coroutines. Costs what a full collection costs, for each object asked
about: for diagnosis, on demand.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from herz.live.injection import place_of, short, shown

DEPTH: Final = 6
"""Containers in containers that are walked through, from the object to whoever owns them."""

BREADTH: Final = 200
"""Referrers that are looked at for one object."""


class Reference(NamedTuple):
    """One place that keeps an object.

    `owner` is the instance, class, module or function; `path` how it gets there (`.clients['a'][0]`); `text` says so in
    a sentence, `place` where the owner is written.
    """

    kind: str
    owner: Any
    path: str
    text: str
    place: str


def references(target: Any, internal: Callable[[Any], bool]) -> Iterator[Reference]:
    """Every place that keeps `target`; not what is `internal`, nor what only such things keep."""
    seen = {id(target)}
    frontier: list[tuple[Any, str]] = [(target, "")]
    told: set[tuple[int, str]] = set()
    for _ in range(DEPTH):
        found: list[tuple[Any, str]] = []
        for thing, path in frontier:
            here = sys._getframe()
            for referrer in gc.get_referrers(thing)[:BREADTH]:
                if id(referrer) in seen or referrer is frontier or referrer is found or referrer is here:
                    continue
                if isinstance(referrer, types.FrameType) or internal(referrer):
                    continue
                one = _owned(referrer, thing, path)
                if isinstance(one, Reference):
                    if (id(one.owner), one.path) not in told:
                        told.add((id(one.owner), one.path))
                        yield one
                elif one is not None:
                    seen.add(id(referrer))
                    found.append((referrer, one))
            del here
        frontier = found
        if not frontier:
            break
    yield from _locals(target, internal)


def _owned(referrer: Any, thing: Any, path: str) -> Reference | str | None:
    """The finding, when `referrer` has a name; the path through it, to be followed further; None for a dead end."""
    if isinstance(referrer, dict):
        return _in_dict(referrer, thing, path)
    if isinstance(referrer, (list, tuple)):
        index = next((index for index, one in enumerate(referrer) if one is thing), None)
        # Pairs of this walk itself, and argument tuples on the way, have no index worth telling.
        return None if index is None else f"[{index}]{path}"
    if isinstance(referrer, (set, frozenset)):
        return f"{{…}}{path}"
    if isinstance(referrer, types.CellType):
        return f"<cell>{path}"
    if isinstance(referrer, types.MethodType):
        return f".{referrer.__func__.__name__}{path}"
    if isinstance(referrer, types.FunctionType):
        return _in_function(referrer, thing, path)
    if isinstance(referrer, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        return _suspended(referrer, thing, path)
    if isinstance(referrer, (type, types.ModuleType)):
        return None  # reached through their dicts
    return _in_instance(referrer, thing, path)


def _in_dict(table: dict[Any, Any], thing: Any, path: str) -> Reference | str | None:
    key = next((key for key, value in list(table.items()) if value is thing), None)
    if key is None:
        return None
    module = sys.modules.get(table.get("__name__", "")) if isinstance(table.get("__name__"), str) else None
    if module is not None and vars(module) is table:
        file = getattr(module, "__file__", None)
        return Reference(
            "global", module, f".{key}{path}", f"global {module.__name__}.{key}{path}", shown(file) if file else "?"
        )
    for owner in gc.get_referrers(table)[:BREADTH]:
        if isinstance(owner, type) and owner.__dict__.get(key, None) is thing:
            name = f"{short(owner)}.{key}"
            return Reference("class", owner, f".{key}{path}", f"class attribute {name}{path}", place_of(owner))
        if getattr(owner, "__dict__", None) is table and not isinstance(owner, (type, types.FunctionType)):
            return _attribute(owner, str(key), path)
    return f"[{key!r}]{path}" if isinstance(key, (str, int)) else f"[…]{path}"


def _in_instance(owner: Any, thing: Any, path: str) -> Reference | None:
    attributes = getattr(owner, "__dict__", None)
    if isinstance(attributes, dict):
        for name, value in list(attributes.items()):
            if value is thing:
                return _attribute(owner, str(name), path)
    for kind in type(owner).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if getattr(owner, name, None) is thing:
                return _attribute(owner, name, path)
    return None


def _attribute(owner: Any, name: str, path: str) -> Reference:
    kind = type(owner)
    text = f"attribute {short(kind)}.{name}{path}"
    return Reference("instance", owner, f".{name}{path}", text, place_of(kind))


def _in_function(function: types.FunctionType, thing: Any, path: str) -> Reference | None:
    if thing is function.__closure__:
        index, _, rest = path.removeprefix("[").partition("]")
        names = function.__code__.co_freevars
        name = names[int(index)] if index.isdigit() and int(index) < len(names) else "?"
        text = f"closure variable {name!r} of {short(function)}{rest.removeprefix('<cell>')}"
        return Reference("closure", function, path, text, place_of(function))
    if thing is function.__defaults__ or thing is function.__kwdefaults__:
        return Reference("default", function, path, f"default of {short(function)}{path}", place_of(function))
    return None


def _suspended(coroutine: Any, thing: Any, path: str) -> Reference | None:
    frame = next(
        (found for name in ("cr_frame", "gi_frame", "ag_frame") if (found := getattr(coroutine, name, None))), None
    )
    if frame is None:
        return None
    name = next((name for name, value in frame.f_locals.items() if value is thing), None)
    return None if name is None else _local(frame, name, path)


def _locals(target: Any, internal: Callable[[Any], bool]) -> Iterator[Reference]:
    """Local variables of the functions that run now, in any thread, Herz's own left out."""
    for top in list(sys._current_frames().values()):
        frame: types.FrameType | None = top
        while frame is not None:
            if not internal(frame):
                for name, value in list(frame.f_locals.items()):
                    if value is target:
                        yield _local(frame, name, "")
            frame = frame.f_back


def _local(frame: types.FrameType, name: str, path: str) -> Reference:
    code = frame.f_code
    place = f"{shown(code.co_filename)}:{frame.f_lineno}"
    return Reference("local", code, f".{name}{path}", f"local variable {name!r}{path} of {code.co_qualname}", place)
