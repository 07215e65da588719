"""Whatever is done to files, in any order: what the source holds in the end is what a fresh read finds."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herz.model.document import Batch, Reset, replay
from herz.model.tree import thaw
from herz.sources.files import FileSource

from ..conftest import examples

NAMES = st.sampled_from(["a.yml", "b.yml", "b-prod.yml", "c.json", "sub/d.yml"])
STEPS = st.tuples(
    st.sampled_from(["write", "rename", "vim", "slow", "delete", "malform", "empty", "link", "drop folder", "rescan"]),
    NAMES,
    st.integers(0, 9),
    st.booleans(),
)


async def act(source: FileSource, folder: Path, kind: str, name: str, number: int) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    text = f'{{"n": {number}, "m": {number}}}'
    if kind == "rescan":
        await source.rescan()
    elif kind == "delete":
        path.unlink(missing_ok=True)
    elif kind == "drop folder":
        shutil.rmtree(folder / "sub", ignore_errors=True)
    elif kind == "rename":
        (folder / "fresh").write_text(text)
        (folder / "fresh").rename(path)
    elif kind == "link":
        (folder / f"target{number}").write_text(text)
        path.unlink(missing_ok=True)
        path.symlink_to(folder / f"target{number}")
    elif kind == "vim":
        if path.exists():
            path.rename(folder / "backup~")
        path.write_text(text)
    elif kind == "slow":
        with path.open("w") as file:
            file.write(text[:9])
            file.flush()
            await asyncio.sleep(0.002)
            file.write(text[9:])
    else:
        path.write_text({"write": text, "malform": "{[", "empty": ""}[kind])


def mend(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.read_text() in ("", "{["):
            path.write_text('{"n": 10, "m": 10}')


async def check(steps: list[tuple[str, str, int, bool]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "keep.yml").write_text("n: 0\nm: 0\n")
        source = FileSource(f"{folder}/**", profiles=("prod",), optional=True, grace_s=0.01, check_s=0.5)
        document = await source.read()
        async with source.follow(document.revision) as stream:
            revisions = [document.revision]

            async def listen() -> None:
                nonlocal document
                async for item in stream:
                    assert item.revision >= revisions[-1] if not isinstance(item, Reset) else True
                    if isinstance(item, Batch):
                        before, after = document.parts[item.part].tree, item.document.parts[item.part].tree
                        assert replay(before, item.events) == after
                    if isinstance(item, (Batch, Reset)):
                        assert item.document.revision > revisions[-1]
                        revisions.append(item.document.revision)
                        document = item.document
                        for part in document.parts:
                            assert part.tree.get("n") == part.tree.get("m"), "torn"

            listening = asyncio.create_task(listen())
            for kind, name, number, pause in steps:
                await act(source, folder, kind, name, number)
                if pause:
                    await asyncio.sleep(0.003)
            # Then all is put in order, so that a fresh read is possible, and everything must be there.
            mend(folder)
            fresh = await FileSource(f"{folder}/**", profiles=("prod",), optional=True).read()
            expected = [(part.origin.name, thaw(part.tree)) for part in fresh.parts]
            async with asyncio.timeout(5):
                while [(part.origin.name, thaw(part.tree)) for part in document.parts] != expected:
                    assert not listening.done(), listening.exception()
                    await asyncio.sleep(0.001)
            listening.cancel()
            await asyncio.wait([listening])
    finally:
        shutil.rmtree(folder)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=12))
def test_after_any_operations_the_source_holds_what_a_fresh_read_finds(steps) -> None:
    asyncio.run(check(steps))
