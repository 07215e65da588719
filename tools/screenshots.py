"""Pictures of every page of the console, light, dark, on a phone, in Chinese: `make screenshots` writes them.

They lie in build/screenshots. What is seen has happened (`herz.testing.console_scene`). Name pages to take only those:
`python tools/screenshots.py fleet rollout`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from herz.testing.browser import Chromium
from herz.testing.console_scene import CLOSED, LOOKS, PAGES, scene
from herz.testing.control_plane import ControlPlaneServer

ROOT: Final = Path(__file__).parents[1]
OUT: Final = ROOT / "build" / "screenshots"


async def take(chromium: Chromium, url: str, pages: dict[str, str], wanted: set[str]) -> bool:
    """Write the pictures of these pages; whether all are without fault."""
    well = True
    for look, options in LOOKS.items():
        visit = await chromium.visit(url, timezone="Europe/Berlin", **options)
        for name, path in pages.items():
            if wanted and name not in wanted:
                continue
            page = await visit.page()
            await page.goto(path)
            await page.wait_for_timeout(800)  # scripts draw; a picture needs no exact moment
            await page.mouse.wheel(0, 20_000)  # editors draw what is seen
            await page.wait_for_timeout(200)
            await page.mouse.wheel(0, -20_000)
            await page.wait_for_timeout(200)
            await page.screenshot(path=OUT / f"{name}-{look}.png", full_page=True)
            await page.close()
            print(f"{name}-{look}.png")
        await visit.context.close()
        for fault in visit.faults:
            print(f"  {look}: {fault}")
        well = well and not visit.faults
    return well


async def main(wanted: set[str]) -> int:
    """All pictures; 1 when a page is not without fault."""
    OUT.mkdir(parents=True, exist_ok=True)
    async with Chromium() as chromium:
        async with scene() as server:
            well = await take(chromium, server.url, PAGES, wanted)
        with ControlPlaneServer("--require-tokens") as closed:
            well = await take(chromium, closed.url, CLOSED, wanted) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(set(sys.argv[1:]))))
