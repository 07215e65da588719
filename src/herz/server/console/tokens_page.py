"""Tokens: who has one, a new one, whose text is shown once, and the end of one."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from herz.errors import HerzError, UsageError
from herz.server.access import Caller
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.plane import Plane
from herz.server.problems import Problem, body_of, not_found
from herz.server.tokens import Grant, Scope, Token

SOON: Final = timedelta(days=14)
"""The time before its end in which a token is marked."""
DAYS: Final = (7, 30, 90, 365)
"""Lifetimes that the form offers."""
APPS: Final = 100
"""Applications that the form has boxes for; others are written."""
_GRANTS: Final = 1_000
_FORMS: Final = 10_000


class Row(NamedTuple):
    """A token as the list has it."""

    token: Token
    expired: bool
    soon: bool

    @classmethod
    def of(cls, token: Token, now: datetime) -> Row:
        """How `token` stands now."""
        expired = token.expired(now)
        return cls(token, expired, not expired and token.expires is not None and token.expires <= now + SOON)


class Draft(NamedTuple):
    """What was typed into the form."""

    name: str = ""
    grants: tuple[str, ...] = ()
    further: str = ""
    expires: str = "90"
    until: str = ""

    @classmethod
    def of(cls, form: Mapping[str, Any], grants: tuple[str, ...]) -> Draft:
        """The fields of a form that was sent."""
        texts = {name: str(form.get(name, ""))[:4000] for name in ("name", "further", "expires", "until")}
        return cls(grants=grants, **texts)

    def granted(self) -> list[Grant]:
        """The grants, each once; `UsageError` for one that is none."""
        texts = dict.fromkeys([*self.grants, *self.further.replace(",", " ").split()])
        if len(texts) > _GRANTS:
            raise UsageError(f"more than {_GRANTS:,} grants", remedy="grant *:SCOPE where it is meant everywhere")
        return [Grant.parse(text) for text in texts]

    def end(self, now: datetime) -> datetime | None:
        """When it expires; the chosen day lasts to its end, in UTC."""
        if self.until:
            try:
                return datetime.combine(date.fromisoformat(self.until), time.max.replace(microsecond=0), UTC)
            except ValueError:
                raise UsageError(f"{self.until!r} is no day", remedy="write 2030-01-31") from None
        if self.expires == "never":
            return None
        if not self.expires.isdecimal() or int(self.expires) not in DAYS:
            raise UsageError(f"{self.expires!r} is no lifetime", remedy="choose one of those that are offered")
        return now + timedelta(days=int(self.expires))


class SentForms:
    """Forms that made a token already: sent again, as reloading a page does, one makes no second token."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, None] = OrderedDict()

    def take(self, form: str) -> bool:
        """Whether it is new."""
        if form in self._sent:
            return False
        self._sent[form] = None
        if len(self._sent) > _FORMS:
            self._sent.popitem(last=False)
        return True

    def give_back(self, form: str) -> None:
        """It made none after all."""
        self._sent.pop(form, None)


@get("/tokens", guards=[enters(Scope.ADMIN)])
async def tokens(request: Request[Any, Any, Any], plane: NamedDependency[Plane]) -> Response[str]:
    """All tokens, without what they are."""
    return await _shown(request, plane)


async def _shown(
    request: Request[Any, Any, Any],
    plane: Plane,
    *,
    error: HerzError | None = None,
    draft: Draft | None = None,
    created: tuple[str, Token] | None = None,
) -> Response[str]:
    now = plane.clock.now()
    found = sorted(await plane.tokens.all(), key=lambda token: (token.name.casefold(), token.id))
    apps = sorted({one.app for one in await plane.desk.apps()})
    problem = None if error is None else body_of(error)[0]
    return page(
        request,
        "tokens.html",
        topics=("tokens",),
        status=201 if created is not None else 200 if problem is None else problem["status"],
        problem=problem,
        rows=[Row.of(token, now) for token in found],
        apps=apps[:APPS],
        more_apps=len(apps) - len(apps[:APPS]),
        scopes=[scope.value for scope in Scope],
        days=DAYS,
        draft=draft or Draft(),
        created=created,
        form=secrets.token_hex(16),
    )


@post("/tokens", guards=[enters(Scope.ADMIN)])
async def change(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], caller: NamedDependency[Caller]
) -> Response[Any]:
    """Make a token and show its text, this once; or, with `revoke`, end one."""
    form = await request.form()
    if (id := form.get("revoke")) is not None:
        try:
            await _revoke(plane, caller, str(id), str(form.get("confirm", "")))
        except HerzError as error:
            return await _shown(request, plane, error=error)
        return Redirect("/console/tokens", status_code=303)
    grants = tuple(str(one) for one in form.getall("grant", []))
    draft = Draft.of(form, grants)
    sent, number = plane.find(SentForms) or plane.offer(SentForms()), str(form.get("form", ""))[:100]
    try:
        granted, expires = draft.granted(), draft.end(plane.clock.now())
        if not sent.take(number):
            raise Problem(
                409,
                "sent-twice",
                "this form has made a token already; its text was shown once, and is kept nowhere",
                remedy="revoke that token if its text was lost, and make another one",
            )
        try:
            created = await plane.tokens.create(draft.name, granted, by=caller.by, expires=expires)
        except HerzError:
            sent.give_back(number)
            raise
    except HerzError as error:
        return await _shown(request, plane, error=error, draft=draft)
    return await _shown(request, plane, created=created)


async def _revoke(plane: Plane, caller: Caller, id: str, confirm: str) -> None:
    token = await plane.tokens.get(id)
    if token is None:
        raise not_found("there is no such token; it was revoked already", remedy="look at the list")
    if confirm != token.name:
        raise UsageError(f"{confirm[:200]!r} is not the name of this token", remedy=f"type {token.name}")
    await plane.tokens.revoke(id, by=caller.by)
    plane.access.forget(id)


PAGES: Final = (tokens, change)
