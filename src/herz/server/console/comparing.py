"""Two sides compared: releases by their numbers, what is live, and the draft; key by key, and side by side."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from herz.errors import HerzError, UsageError
from herz.release.content import Content, LayerText
from herz.server.console.history import PAGE
from herz.server.console.pages import page
from herz.server.console.shown import table
from herz.server.door.entering import LIVE, enters
from herz.server.drafts import compared
from herz.server.masking import TEXTS, masked
from herz.server.plane import Plane
from herz.server.problems import body_of, not_found
from herz.server.tokens import Scope


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side: the release that it is, None for a draft, and what it holds."""

    number: int | None
    content: Content


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One layer on both sides: their texts without secrets, None where it is not there or, with `long`, not shown."""

    name: str
    format: str
    before: str | None
    after: str | None
    same: bool
    long: bool


@get("/apps/{app:str}/{namespace:str}/compare", guards=[enters(Scope.READ)])
async def compare(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
) -> Response[str]:
    """`?from=` and `&to=`: a number, `live` or `draft`."""
    before = request.query_params.get("from") or "live"
    after = request.query_params.get("to") or "draft"
    newest = await plane.desk.releases(app, namespace, limit=PAGE)
    facts: dict[str, Any] = {"changes": None, "pairs": (), "problem": None, "sides": None}
    try:
        old, new = await _side(plane, app, namespace, before), await _side(plane, app, namespace, after)
        facts["sides"] = (old, new)
        if LIVE not in request.headers:  # the texts are not kept up to date: somebody is reading them
            facts["pairs"] = await asyncio.to_thread(pairs, old.content, new.content)
        facts["changes"] = table(await compared(plane.desk.readings, old.content, new.content))
    except HerzError as error:
        facts["problem"], _ = body_of(error)
    return page(
        request,
        "compare.html",
        topics=[f"{kind}:{app}/{namespace}" for kind in ("draft", "channel", "releases")],
        status=200 if facts["problem"] is None else facts["problem"]["status"],
        before=before,
        after=after,
        newest=newest,
        **facts,
    )


async def _side(plane: Plane, app: str, namespace: str, asked: str) -> Side:
    if asked == "draft":
        draft = await plane.desk.drafts.facts(app, namespace)
        if draft is None:
            raise not_found("there is no draft to compare", remedy="compare releases, or write a draft")
        return Side(number=None, content=await plane.contents.read(draft.digest))
    if asked == "live":
        content, number = await plane.desk.drafts.live(app, namespace)
        return Side(number=number, content=content)
    if not (asked.isascii() and asked.isdecimal()) or len(asked) > 11:
        raise UsageError(f"{asked[:100]!r} is no release", remedy="write a number, live or draft")
    release = await plane.desk.release(app, namespace, int(asked))
    return Side(number=release.number, content=await plane.contents.read(release.digest))


def pairs(before: Content, after: Content) -> tuple[Pair, ...]:
    """The layers of two contents by their names, with their texts without secrets."""
    old, new = ({layer.name: layer for layer in content.layers} for content in (before, after))
    found: list[Pair] = []
    left = TEXTS
    for name in dict.fromkeys([*new, *old]):
        texts = [None if side is None else _text(side, left) for side in (old.get(name), new.get(name))]
        left -= sum(len(text or "") for text in texts)
        found.append(
            Pair(
                name=name,
                format=(new[name] if name in new else old[name]).format,
                before=texts[0],
                after=texts[1],
                same=old.get(name) == new.get(name),
                long=(name in old and texts[0] is None) or (name in new and texts[1] is None),
            )
        )
    return tuple(found)


def _text(layer: LayerText, left: int) -> str | None:
    return masked(layer) if len(layer.text) <= left else None


PAGES: Final = (compare,)
