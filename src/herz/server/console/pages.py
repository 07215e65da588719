"""Pages: templates rendered in the reader's language, under a policy that lets nothing in from elsewhere.

A page that is open asks for itself again whenever one of its topics has changed, and so do all who have it open. Such
a page (`x-herz-live`) is rendered once for all who may see the same in the same language, until a topic changes again.
"""

from __future__ import annotations

import asyncio
import gzip
import secrets
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request, Response
from markupsafe import Markup

from herz import __version__
from herz.server.access import Caller
from herz.server.console.changes import Changes
from herz.server.console.language import LANGUAGES, chosen, translations
from herz.server.console.shown import visible
from herz.server.console.static_files import StaticFiles
from herz.server.door.entering import LIVE
from herz.server.plane import Plane
from herz.server.sized import Sized
from herz.server.tokens import Scope

KEPT: Final = 200
"""Pages that many have open, kept until a topic of theirs changes."""
KEPT_LENGTH: Final = 256 * 1024
"""Characters that such a page may have."""
PACKED: Final = 2_000
"""Characters from which on packing a page gains something."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class _Kept:
    """A live page: as of which change it is, what it depends on, and whether it is still being made."""

    __slots__ = ("packed", "seq", "text", "topics")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.packed: bytes | None = None
        self.topics: tuple[str, ...] = ()
        self.text: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class Pages:
    """Renders pages of one server."""

    def __init__(self, plane: Plane, static: StaticFiles, changes: Changes) -> None:
        self._plane, self._static, self._changes = plane, static, changes
        self._environments = {language: _environment(language, static) for language in LANGUAGES}
        self._kept: Sized[tuple[Any, ...], _Kept] = Sized(KEPT, lambda _: 1)

    def render(
        self,
        request: Request[Any, Any, Any],
        template: str,
        *,
        topics: Iterable[str] = (),
        status: int = 200,
        **facts: Any,
    ) -> Response[Any]:
        """A page. `topics` are those of which the elements marked `data-live` tell."""
        caller: Caller | None = getattr(request.state, "caller", None)
        language = chosen(request)
        app = request.path_params.get("app")
        nonce = secrets.token_urlsafe(16)
        text = (
            self._environments[language]
            .get_template(template)
            .render(
                {
                    "person": caller,  # `caller` is Jinja's name for the block that a macro is called with
                    "may": lambda scope, of=app: caller is not None and caller.may(Scope(scope), of),
                    "open": self._plane.settings.open,
                    "server": self._plane.settings.name,
                    "live": LIVE in request.headers,
                    "language": language,
                    "languages": LANGUAGES,
                    "version": __version__,
                    "path": request.url.path,
                    "query": request.url.query,
                    "app": app,
                    "namespace": request.path_params.get("namespace"),
                    "nonce": nonce,
                    "topics": " ".join(topics := tuple(topics)),
                    **facts,
                }
            )
        )
        kept: _Kept | None = getattr(request.state, "kept", None)
        if kept is not None and status == 200 and len(text) <= KEPT_LENGTH:
            kept.topics = topics
            kept.text.set_result(text)
        return _response(request, text, status, nonce, kept)

    async def known(self, request: Request[Any, Any, Any]) -> Response[Any] | None:
        """The page that an open one asks for, when nothing that it tells of has changed since it was made.

        Whoever asks while it is being made waits for it.
        """
        if LIVE not in request.headers or request.method != "GET":
            return None
        key = _key(request)
        kept = self._kept.get(key)
        if kept is not None and not self._changes.since(kept.seq, kept.topics):
            if not kept.text.done():
                await asyncio.wait({kept.text}, timeout=5.0)
            if kept.text.done() and not kept.text.cancelled() and not self._changes.since(kept.seq, kept.topics):
                return _response(request, kept.text.result(), 200, secrets.token_urlsafe(16), kept)
        request.state.kept = kept = _Kept(self._changes.seq)
        self._kept.put(key, kept)
        return None

    def forget(self, request: Request[Any, Any, Any]) -> None:
        """Let nobody wait for a page that failed."""
        kept: _Kept | None = getattr(request.state, "kept", None)
        if kept is not None and not kept.text.done():
            kept.text.cancel()


def page(request: Request[Any, Any, Any], template: str, **facts: Any) -> Response[Any]:
    """A page of this request's server; see `Pages.render`."""
    plane: Plane = request.app.state.plane
    return plane.of(Pages).render(request, template, **facts)


def _response(
    request: Request[Any, Any, Any], text: str, status: int, nonce: str, kept: _Kept | None = None
) -> Response[Any]:
    headers = {**_HEADERS, "content-security-policy": _POLICY.format(nonce=nonce)}
    if not _packs(request) or len(text) < PACKED:
        return Response(text, status_code=status, headers=headers, media_type="text/html")
    packed = None if kept is None else kept.packed
    if packed is None:
        packed = gzip.compress(text.encode(), 1, mtime=0)
        if kept is not None:
            kept.packed = packed
    headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(packed, status_code=status, headers=headers, media_type="text/html")


def _packs(request: Request[Any, Any, Any]) -> bool:
    """Whether a page is packed: only when a script of the console asks for it.

    A page that repeats what is in its address tells by its packed length what else is in it, to whoever can make a
    browser ask for many addresses and see how long the answers are. No other site can send these headers.
    """
    headers = request.headers
    return (LIVE in headers or "hx-request" in headers) and "gzip" in headers.get("accept-encoding", "")


def _key(request: Request[Any, Any, Any]) -> tuple[Any, ...]:
    caller: Caller = request.state.caller
    return request.url.path, request.url.query, chosen(request), caller.grants


def _environment(language: str, static: StaticFiles) -> Environment:
    made = Environment(
        loader=PackageLoader("herz.server.console"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    made.globals["static"] = static.url
    made.filters["json_data"] = _json
    made.filters["segment"] = lambda text: quote(str(text), safe="")
    made.filters["visible"] = visible
    made.filters["iso"] = lambda moment: moment.isoformat().replace("+00:00", "Z")
    return made


def _json(value: Any) -> Markup:
    """JSON for a script element of type application/json: no `<` in it, so nothing can end the element."""
    text = msgspec.json.encode(value, enc_hook=str).decode()  # translations are a kind of str
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)  # noqa: S704  every character that HTML gives a meaning is escaped
