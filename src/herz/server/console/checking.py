"""What an editor asks of the text that somebody types: its faults, what it changes, its form; nothing is written."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from herz.errors import HerzError, UsageError
from herz.release.content import Content
from herz.server.console.comparing import pairs
from herz.server.console.drafting import DRAFT, as_json, judged
from herz.server.console.merging import put_together
from herz.server.console.pages import page
from herz.server.console.schema_fields import field_at, fields_of, meant
from herz.server.console.shown import table, visible
from herz.server.door.entering import enters
from herz.server.drafts import compared
from herz.server.editing import edited
from herz.server.plane import Plane
from herz.server.problems import body_of, not_found
from herz.server.reading import Reading
from herz.server.settings import CONTENT_BODY_BYTES
from herz.server.tokens import Scope
from herz.server.validation import Fault
from herz.store.plane import place

_PLACE: Final = re.compile(r"(.*):(\d+)", re.DOTALL)
_COLUMN: Final = re.compile(r" at column (\d+)")


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the editor."""

    content: Content


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed into one field of the form. `remove` takes the key out; `layer` is where a new key goes."""

    content: Content
    key: str
    typed: str = ""
    remove: bool = False
    layer: str | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Mine, what it began from, and the keys of which theirs is taken."""

    content: Content
    seen: int
    base: int | None = None
    theirs: tuple[str, ...] = ()


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """A fault where it stands: the layer by its index, line and column from 1; None where that is not known."""

    what: str
    key: str = ""
    layer: int | None = None
    line: int | None = None
    column: int | None = None


@post(f"{DRAFT}/check", guards=[enters(Scope.EDIT)], request_max_body_size=CONTENT_BODY_BYTES)
async def check(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], data: JSONBody[Typed]
) -> Response[bytes]:
    """The faults of what is typed, each with its place."""
    place(app, namespace)
    validation = await judged(plane, app, namespace, data.content)
    names = [layer.name for layer in data.content.layers]
    return as_json({"ok": validation.ok, "faults": [marked(fault, names) for fault in validation.problems]})


def marked(fault: Fault, names: list[str]) -> Marked:
    """A fault with its place taken apart."""
    found = _PLACE.fullmatch(fault.where or "")
    layer = found[1] if found else fault.where
    column = _COLUMN.search(fault.what)
    return Marked(
        what=visible(fault.what),
        key=visible(fault.key),
        layer=names.index(layer) if layer in names else None,
        line=int(found[2]) if found else None,
        column=int(column[1]) if column and found else None,
    )


@post(f"{DRAFT}/difference", guards=[enters(Scope.EDIT)], request_max_body_size=CONTENT_BODY_BYTES)
async def difference(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[Typed],
) -> Response[str]:
    """What is typed against what is live, key by key, as a part of the page."""
    live, number = await plane.desk.drafts.live(app, namespace)
    changes = table(await compared(plane.desk.readings, live, data.content))
    layers = await asyncio.to_thread(pairs, live, data.content)
    return page(request, "draft_difference.html", changes=changes, live_number=number, pairs=layers)


@post(f"{DRAFT}/form", guards=[enters(Scope.EDIT)], request_max_body_size=CONTENT_BODY_BYTES)
async def form(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[Typed],
) -> Response[str]:
    """The form of the namespace's schema, filled with what is typed, as a part of the page."""
    schema = await plane.desk.schemas.get(app, namespace)
    reading: Reading | None = None
    problem = None
    try:
        reading = await plane.desk.readings.of(data.content)
    except HerzError as error:
        problem, _ = body_of(error)
    fields = () if schema is None or reading is None else fields_of(schema, reading)
    return page(
        request,
        "draft_form.html",
        schema=schema is not None,
        title=visible(str(schema.get("title", ""))[:200]) if schema else "",
        fields=fields,
        layers=[layer.name for layer in data.content.layers],
        problem=problem,
    )


@post(f"{DRAFT}/set", guards=[enters(Scope.EDIT)], request_max_body_size=CONTENT_BODY_BYTES)
async def set_key(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], data: JSONBody[Put]
) -> Response[bytes]:
    """What is typed with one field of the form set in it; other lines and comments stay."""
    schema = await plane.desk.schemas.get(app, namespace)
    if schema is None:
        raise not_found(f"{app}/{namespace} has no schema", remedy="write one: herz draft schema")
    reading = await plane.desk.readings.of(data.content)
    value = None if data.remove else meant(field_at(fields_of(schema, None), data.key), data.typed)
    if not reading.content.layers:
        raise UsageError("there is no layer to write to", remedy="add a layer first")
    return as_json({"layers": (await edited(reading, {data.key: value}, data.layer or None)).layers})


@post(f"{DRAFT}/merge", guards=[enters(Scope.EDIT)], request_max_body_size=CONTENT_BODY_BYTES)
async def merge(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], data: JSONBody[Choice]
) -> Response[bytes]:
    """What is typed together with what somebody else saved meanwhile, to be looked at and saved."""
    content, revision = await put_together(
        plane, app, namespace, data.content, seen=data.seen, base=data.base, theirs=data.theirs
    )
    return as_json({"layers": content.layers, "revision": revision})


PAGES: Final = (check, difference, form, set_key, merge)
