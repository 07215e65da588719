"""Proof on demand: the instances are asked now what they run, and the answer is shown to whoever asked."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery

from herz.errors import HerzError, UsageError
from herz.release.atomicity import Verdict, What
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.server.rollouts.proofs import WINDOW_S, Proofs, Question
from herz.server.tokens import Scope

NAMED: Final = 200
"""Instances that are listed as having answered."""
DIFFERENCES: Final = 200


class Asked(msgspec.Struct, kw_only=True):
    """The form: what is to be proved, of whom, and how long they have to answer."""

    release: str = ""
    patch_id: str = ""
    cohort: str = ""
    instances: str = ""
    window_s: str = f"{WINDOW_S:g}"
    allow_overrides: str = ""

    def question(self) -> Question:
        """What is asked; `UsageError` where that makes no sense."""
        number = self.release.strip().removeprefix("@")
        if not number.isdecimal() or len(number) > 10:
            raise UsageError(f"{number[:100]!r} is no number of a release", remedy="say which release is to be proved")
        try:
            window_s = float(self.window_s)
        except ValueError:
            raise UsageError(f"a window of {self.window_s[:100]!r}", remedy="give seconds, such as 2") from None
        return Question(
            config_version=int(number),
            patch_id=self.patch_id.strip() or None,
            cohorts=(self.cohort,) if self.cohort else (),
            instances=_words(self.instances),
            window_s=window_s,
            allow_overrides=_words(self.allow_overrides),
        )


@get("/apps/{app:str}/{namespace:str}/rollouts/verify", guards=[enters(Scope.ROLLOUT)])
async def verify_form(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    release: FromQuery[str] = "",
    patch_id: FromQuery[str] = "",
) -> Response[str]:
    """The form, by default about what is stable."""
    stable = plane.of(Hub).namespace(app, namespace).channel.stable.release
    number = release or ("" if stable is None else str(stable.number))
    return _page(request, plane, app, namespace, Asked(release=number, patch_id=patch_id))


@post("/apps/{app:str}/{namespace:str}/rollouts/verify", guards=[enters(Scope.ROLLOUT)], status_code=200)
async def verify(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Asked, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[str]:
    """The verdict. It is kept nowhere: whoever wants to know later asks again."""
    try:
        verdict = await plane.of(Proofs).verify(app, namespace, data.question())
    except HerzError as error:
        body, _ = body_of(error)
        return _page(request, plane, app, namespace, data, problem=body)
    return _page(request, plane, app, namespace, data, verdict=verdict)


def _page(
    request: Request[Any, Any, Any],
    plane: Plane,
    app: str,
    namespace: str,
    asked: Asked,
    *,
    problem: dict[str, Any] | None = None,
    verdict: Verdict | None = None,
) -> Response[str]:
    there = plane.of(Hub).namespace(app, namespace)
    silent: set[str] = set()
    answered: list[str] = []
    if verdict is not None:
        silent = {one.instance for one in verdict.differences if one.what is What.UNREACHABLE}
        meant = _words(asked.instances)
        answered = [
            name
            for name in sorted({*there.reports, *meant})
            if name not in silent
            and ((not meant and not asked.cohort) or name in meant or there.cohort(name) == asked.cohort)
        ]
    return page(
        request,
        "rollout_verify.html",
        status=200 if problem is None else problem["status"],
        problem=problem,
        asked=asked,
        verdict=verdict,
        silent=sorted(silent),
        answered=answered[:NAMED],
        more=len(answered) - NAMED,
        cohorts=["stable", *sorted(there.channel.cohorts)],
        reporting=len(there.reports),
        differences=DIFFERENCES,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


PAGES: Final = (verify_form, verify)
