"""Debian's Chromium without a window, driven by playwright: pages are looked at as people see them.

Every page is watched: a request to another host, an error in the console (what the Content-Security-Policy refuses is
one), an uncaught exception, an answer of 5xx or a script that is not there is a fault, and `Visit.check` fails the test
for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    Response,
    WebError,
    async_playwright,
)

Kind = Literal["foreign", "console", "exception", "status", "unreachable"]

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = (
    "--no-sandbox",  # a container's root may not have one; only our own pages are opened
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # a foreign request fails at once, and never leaves
)
DESK: Final = (1280, 800)
PHONE: Final = (360, 740)
"""Width and height in CSS pixels."""
WAIT_S: Final = 10.0
"""How long playwright waits for a condition, unless a test says otherwise."""
NEEDED: Final = frozenset({"script", "stylesheet", "image", "font", "manifest"})
"""What a page is not whole without: an answer of 4xx to it is a fault, while a form may well be answered so."""
LEFT: Final = "net::ERR_ABORTED"
"""How a request ends whose page was left; nobody waits for its answer."""
AXE: Final = Path("frontend") / "node_modules" / "axe-core" / "axe.min.js"
"""Where `make assets` puts axe, in a checkout."""
SERIOUS: Final = frozenset({"serious", "critical"})


class Fault(NamedTuple):
    """What went wrong in a page."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class Visit:
    """One visitor: cookies, storage and pages of their own (`context`), all watched."""

    def __init__(self, context: BrowserContext, hosts: Collection[str]) -> None:
        self.context: Final = context
        self.faults: Final[list[Fault]] = []
        self._hosts = frozenset(hosts)
        self._more: Final = asyncio.Event()
        self._tolerated: frozenset[Kind] = frozenset()
        context.on("request", self._asked)
        context.on("response", self._answered)
        context.on("requestfailed", self._failed)
        context.on("console", self._told)
        context.on("weberror", self._raised)

    async def page(self) -> Page:
        """A new tab."""
        return await self.context.new_page()

    def check(self) -> None:
        """Nothing, or an AssertionError with every fault so far."""
        if self.faults:
            raise AssertionError("\n".join(["the pages are not without fault:", *map(str, self.faults)]))

    async def noticed(self, *kinds: Kind) -> None:
        """Wait until a fault of each kind has been noticed. `TimeoutError` after `WAIT_S`."""
        async with asyncio.timeout(WAIT_S):
            while not {fault.kind for fault in self.faults}.issuperset(kinds):
                self._more.clear()
                await self._more.wait()

    @contextlib.contextmanager
    def tolerating(self, *kinds: Kind) -> Iterator[None]:
        """Faults of these kinds do not count meanwhile; wait inside until the page has recovered."""
        before, self._tolerated = self._tolerated, self._tolerated | frozenset(kinds)
        try:
            yield
        finally:
            self._tolerated = before

    def outage(self) -> contextlib.AbstractContextManager[None]:
        """The server may be away, or leaving, meanwhile."""
        return self.tolerating("unreachable", "status")

    def _note(self, kind: Kind, what: str) -> None:
        if kind not in self._tolerated:
            self.faults.append(Fault(kind, what))
            self._more.set()

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc not in self._hosts:
            self._note("foreign", f"{request.method} {request.url}")

    def _answered(self, response: Response) -> None:
        needed = response.request.resource_type in NEEDED
        if response.status >= 500 or (response.status >= 400 and needed):
            self._note("status", f"{response.status} for {response.request.method} {response.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != LEFT:
            self._note("unreachable", f"{request.method} {request.url}: {request.failure}")

    def _told(self, message: ConsoleMessage) -> None:
        # Chromium tells failed requests here too; they were judged as answers or failures already.
        if message.type == "error" and not message.text.startswith("Failed to load resource:"):
            where = message.location
            self._note("console", f"{message.text} ({where['url']}:{where['lineNumber'] + 1})")

    def _raised(self, error: WebError) -> None:
        self._note("exception", error.error.stack or error.error.message)


class Chromium:
    """One browser for many visits; `async with` it. All its methods belong to the loop that it was entered on."""

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    @staticmethod
    def program() -> str | None:
        """The installed browser, if there is one."""
        return next(filter(None, map(shutil.which, PROGRAMS)), None)

    async def __aenter__(self) -> Self:
        self._playwright = await async_playwright().start()
        try:
            self._browser = await self._playwright.chromium.launch(
                executable_path=self.program() or PROGRAMS[0], args=list(ARGUMENTS)
            )
        except BaseException:
            await self._playwright.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._browser is not None:
            await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()

    async def visit(
        self,
        url: str,
        *,
        dark: bool = False,
        phone: bool = False,
        language: str = "en-US",
        timezone: str = "UTC",
        also: Collection[str] = (),
        **more: Any,
    ) -> Visit:
        """A new visitor of the server at `url`, to which its pages' addresses are relative.

        `also` are URLs of further servers whose hosts may be asked. `more` goes to `Browser.new_context`. The caller
        closes `visit.context`.
        """
        if self._browser is None:
            raise RuntimeError("enter it first: async with Chromium() as chromium")
        width, height = PHONE if phone else DESK
        context = await self._browser.new_context(
            **{
                "base_url": url,
                "color_scheme": "dark" if dark else "light",
                "viewport": {"width": width, "height": height},
                "has_touch": phone,
                "is_mobile": phone,
                "locale": language,
                "timezone_id": timezone,
                "reduced_motion": "reduce",  # nothing is waited for that only moves
                **more,
            }
        )
        context.set_default_timeout(WAIT_S * 1000)
        return Visit(context, [urlsplit(one).netloc for one in (url, *also)])


async def accessibility(page: Page, axe: str) -> list[str]:
    """What axe finds wrong in the page as it is now, serious or critical: one line for each element.

    `axe` is its script (the text of `AXE`); the page's Content-Security-Policy does not stop it, for no element brings
    it in.
    """
    session = await page.context.new_cdp_session(page)
    try:
        there = await session.send("Runtime.evaluate", {"expression": "typeof axe", "returnByValue": True})
        if there["result"]["value"] == "undefined":
            await session.send("Runtime.evaluate", {"expression": axe})
        said = await session.send(
            "Runtime.evaluate",
            {
                "expression": "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
    finally:
        await session.detach()
    if "exceptionDetails" in said:
        raise AssertionError(f"axe failed: {said['exceptionDetails']}")
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {' '.join(map(str, node['target']))}"
        for rule in said["result"]["value"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
