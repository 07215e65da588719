"""A value explained: which layer decides it, since which release, who overrides it, and which objects use it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery

from herz.errors import ConfigurationError, UsageError
from herz.model.key import Path, join, relaxed, split
from herz.model.tree import find
from herz.release.channel import Release
from herz.release.report import Answer, Ask, AskKind, Explained, Override
from herz.server.asks import Asking
from herz.server.console.application import LARGE, known, origins_of, path_of
from herz.server.console.graphs import Part, graphs_of, users_of
from herz.server.console.key_history import LIMIT_S, MOST, History, Pasts
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.hub import Hub, Namespace
from herz.server.impact import Impacts
from herz.server.origins import Contribution, Key, Origins, Shown, shown
from herz.server.plane import Plane
from herz.server.problems import not_found
from herz.server.tokens import Scope
from herz.store.plane import checked_instance, place

WINDOW_S: Final = 1.5
"""Seconds that instances have for an answer."""
SUGGESTED: Final = 20
"""Keys that are suggested while one types."""
LISTED: Final = 100
"""Rows of one list."""
FURTHER: Final = 2_000
FURTHER_S: Final = 5.0
"""How many releases are read back on demand, and for how long."""
_COMPARED: Final = 2_000
"""Keys that a key which does not exist is compared with."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key without asking anybody."""

    key: str
    value: Shown
    live: Release
    said: list[Contribution]
    below: list[Key]
    below_more: int
    history: History
    draft: Shown | None
    overrides: list[tuple[str, Override]]
    overriding: int
    users: list[Part]
    told: int
    instances: int
    references: tuple[str, ...]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One value that instances have, from where, and which they are."""

    value: str | None
    origin: str | None
    overrode: tuple[str, ...]
    instances: list[str]
    released: bool
    """Whether it is what the release says, as written."""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What instances answered: the values, the most frequent first."""

    said: list[Said]
    answered: int
    asked: int


class Asked(msgspec.Struct):
    """A key, and who is asked: everybody by default."""

    key: str = ""
    instance: str = ""


@get("/apps/{app:str}/{namespace:str}/explain", guards=[enters(Scope.READ)])
async def explain(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    key: FromQuery[str] = "",
    further: FromQuery[str] = "",
) -> Response[str]:
    """What the server knows of a key; its instances are asked only when somebody wants that."""
    return await _page(request, plane, app, namespace, key, further=bool(further))


@post("/apps/{app:str}/{namespace:str}/explain/ask", guards=[enters(Scope.RELEASE)], status_code=200)
async def ask(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Asked, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[str]:
    """The same page, with what instances answer."""
    place(app, namespace)
    if path_of(data.key) is None:
        raise UsageError(f"{data.key[:100]!r} is no key", remedy="write it like db.pool")
    there = plane.of(Hub).namespace(app, namespace)
    if data.instance and checked_instance(data.instance) not in there.reports:
        raise not_found(f"no instance {data.instance} of {app}/{namespace} is connected", remedy="look at the fleet")
    expected = [data.instance] if data.instance else list(there.reports)
    wanted = (data.instance,) if data.instance else ()
    question = Ask(nonce="", kind=AskKind.EXPLAIN, keys=(data.key,), instances=wanted)
    found = await plane.of(Asking).ask(app, namespace, question, expected, WINDOW_S)
    return await _page(request, plane, app, namespace, data.key, answers=(found, len(expected)))


@get("/apps/{app:str}/{namespace:str}/explain/keys", guards=[enters(Scope.READ)])
async def keys(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    key: FromQuery[str] = "",
) -> Response[str]:
    """Keys to choose from while one types."""
    place(app, namespace)
    live = plane.of(Hub).namespace(app, namespace).channel.stable.release
    found: list[str] = []
    if live is not None:
        origins = await origins_of(plane, live.digest)
        look = partial(origins.beginning, key.strip(), SUGGESTED)
        found = await asyncio.to_thread(look) if len(origins.paths) > LARGE else look()
    return page(request, "explain_keys.html", found=found)


async def _page(
    request: Request[Any, Any, Any],
    plane: Plane,
    app: str,
    namespace: str,
    key: str,
    *,
    further: bool = False,
    answers: tuple[dict[str, Answer], int] | None = None,
) -> Response[str]:
    key = key.strip()
    there = await known(plane, app, namespace)
    live = (await plane.desk.channel(app, namespace))[0].stable.release
    path = path_of(key)
    told, near, said = None, list[str](), None
    if live is not None and path is not None:
        origins = await origins_of(plane, live.digest)
        release = await plane.desk.release(app, namespace, live.number)
        told = await _explained(plane, there, origins, release, path, further=further)
        if told.value.kind == "absent":
            near = await asyncio.to_thread(nearest, path, origins)
        if answers is not None:
            said = _said(answers[0], answers[1], told)
    of = f"{app}/{namespace}"
    return page(
        request,
        "explain.html",
        topics=[f"channel:{of}", f"fleet:{of}", f"draft:{of}"],
        key=key,
        malformed=bool(key) and path is None,
        released=live is not None,
        told=told,
        near=near,
        answers=said,
        window=WINDOW_S,
    )


async def _explained(
    plane: Plane, there: Namespace, origins: Origins, release: Release, path: Path, *, further: bool
) -> Explanation:
    value = origins.value(path)
    below = origins.below(path)
    most, limit_s = (FURTHER, FURTHER_S) if further else (MOST, LIMIT_S)
    history = await plane.of(Pasts).history(plane, release, path, most=most, limit_s=limit_s)
    overriding = list(_overriding(there, path))
    graphs = await graphs_of(plane.of(Impacts), there)
    referring = origins.referring(path)
    return Explanation(
        key=join(path),
        value=shown(path, value),
        live=release,
        said=[] if below else origins.contributions(path),
        below=[origins.key(one) for one in below[:LISTED]],
        below_more=len(below) - LISTED,
        history=history,
        draft=await _drafted(plane, release, path, value),
        overrides=overriding[:LISTED],
        overriding=len(overriding),
        users=users_of(graphs, [path, *referring]),
        told=sum(count for _, count in graphs),
        instances=len(there.reports),
        references=tuple(join(one) for one in referring[:LISTED]),
    )


async def _drafted(plane: Plane, release: Release, path: Path, value: Any) -> Shown | None:
    """What the key is in the draft, where that is another value than the live one."""
    draft = await plane.desk.drafts.facts(release.app, release.namespace)
    if draft is None or draft.digest == release.digest:
        return None
    try:
        found = find((await plane.desk.readings.of(await plane.contents.read(draft.digest))).tree, path)
    except ConfigurationError:  # a draft need not be readable yet
        return None
    return None if (text := shown(path, found)) == shown(path, value) else text


def _overriding(there: Namespace, path: Path) -> Iterable[tuple[str, Override]]:
    """The instances that decide the key, or one below it, themselves."""
    simple = tuple(map(relaxed, path))
    judged: dict[str, bool] = {}
    for name in sorted(there.reports):
        for one in there.reports[name].value.overrides:
            if one.key not in judged:
                at = tuple(map(relaxed, path_of(one.key) or ()))
                judged[one.key] = at[: len(simple)] == simple
            if judged[one.key]:
                yield name, one


def _said(answers: dict[str, Answer], asked: int, told: Explanation) -> Answers:
    together: dict[tuple[str | None, str | None], Said] = {}
    for name in sorted(answers):
        one = next(iter(answers[name].explained), None) or Explained(key=told.key, value=None, origin=None)
        found = together.get((one.value, one.origin))
        if found is None:
            released = one.value == (None if told.value.kind == "absent" else told.value.text)
            found = together[one.value, one.origin] = Said(
                value=one.value, origin=one.origin, overrode=one.overrode, instances=[], released=released
            )
        found.instances.append(name)
    said = sorted(together.values(), key=lambda one: (-len(one.instances), one.value or ""))
    return Answers(said=said, answered=len(answers), asked=asked)


def nearest(path: Path, origins: Origins, most: int = 8) -> list[str]:
    """The keys that somebody may have meant who wrote `path`."""
    known = origins.paths
    if len(known) > _COMPARED:  # comparing takes its time: those with a segment in common, or the same beginning
        segments, begins = set(map(relaxed, path)), path[0][:2].lower()
        alike = [one for one in known if not segments.isdisjoint(origins.simple(one))]
        known = tuple((alike or [one for one in known if one[0][:2].lower() == begins])[:_COMPARED])
    return _matches(join(path), [join(one) for one in known], most)


def _matches(key: str, known: Sequence[str], most: int) -> list[str]:
    close = get_close_matches(key, known, n=most, cutoff=0.5)
    last = split(key)[-1].lower()
    return list(dict.fromkeys([*close, *[one for one in known if one.lower().endswith(last)][:most]]))[:most]


PAGES: Final = (explain, ask, keys)
