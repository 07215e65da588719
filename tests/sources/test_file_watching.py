"""Every way in which people and programs write files is seen, whole."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from herz.errors import DocumentMalformed, EmptiedSource
from herz.model.document import Batch, Progress, Reset
from herz.sources.base import Failed
from herz.sources.file_patterns import WatchPaths
from herz.sources.file_watch import InotifyWatch, Signals
from herz.sources.files import FileSource


def renamed(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(text)
    fresh.rename(path)


def vim(path: Path, text: str) -> None:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def patched(path: Path, text: str) -> None:
    """In place, without truncating: the old and the new are of one length here."""
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.ftruncate(descriptor, len(text))
    os.close(descriptor)


def recreated(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def relinked(path: Path, text: str) -> None:
    other = path.with_name(f"other-{os.urandom(4).hex()}")
    other.write_text(text)
    path.unlink()
    path.hardlink_to(other)


QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


class Mount:
    """A volume as Kubernetes' atomic writer keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        folder.mkdir()

    def write(self, **files: str) -> None:
        self.count += 1
        payload = self.folder / f"..2026_{self.count}"
        payload.mkdir()
        for name, text in files.items():
            (payload / f"{name}.yml").write_text(text)
        link, fresh = self.folder / "..data", self.folder / "..data_tmp"
        old = os.readlink(link) if link.is_symlink() else None
        fresh.symlink_to(payload.name)
        fresh.rename(link)
        for name in files:
            visible = self.folder / f"{name}.yml"
            if not visible.is_symlink():
                visible.symlink_to(f"..data/{name}.yml")
        for visible in self.folder.glob("*.yml"):
            if visible.stem not in files:
                visible.unlink()
        if old is not None:
            for inside in (self.folder / old).iterdir():
                inside.unlink()
            (self.folder / old).rmdir()


@pytest.mark.parametrize("write", [Path.write_text, patched, renamed, vim, recreated, relinked])
async def test_a_file_written_in_any_style_is_handed_on_whole(tmp_path, follow, write) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\nb: 0\n")
    async with follow(FileSource(path)) as follower:
        for count in range(1, 20):
            write(path, f"a: {count}\nb: {count}\n")
            await follower.until_values({"a": count, "b": count})
    for item in follower.items:
        assert isinstance(item, Batch)
        tree = item.document.parts[0].tree
        assert tree["a"] == tree["b"]


async def test_one_open_write_close_is_one_change(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(FileSource(path)) as follower:
        for count in range(1, 30):
            path.write_text(f"a: {count}\n")
            await follower.until_values({"a": count})
        await follower.source.rescan()
        await follower.item(Progress)
    assert [item.events for item in follower.items[:-1]] == [((("a",), n - 1, n),) for n in range(1, 30)]
    revisions = [item.revision for item in follower.items[:-1]]
    assert revisions == list(range(2, 31))


async def test_a_slow_write_in_two_steps_is_seen_only_when_it_is_closed(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\nb: 0\n")
    async with follow(FileSource(path)) as follower:
        for count in range(1, 6):
            with path.open("w") as file:
                file.write(f"a: {count}\n")
                file.flush()
                # Whatever makes the source look meanwhile must not take the half that is there.
                (tmp_path / "other.yml").write_text("x: 1\n")
                await follower.source.rescan() if count == 1 else await asyncio.sleep(0.03)
                assert follower.document.parts[0].tree["a"] == count - 1
                file.write(f"b: {count}\n")
            await follower.until_values({"a": count, "b": count})


async def test_a_slow_first_write_in_a_folder_made_later_is_not_torn(tmp_path, follow) -> None:
    async with follow(FileSource(f"{tmp_path}/deep/er/**", optional=True)) as follower:
        (tmp_path / "deep" / "er").mkdir(parents=True)
        with (tmp_path / "deep" / "er" / "app.yml").open("w") as file:
            file.write("a: 1\n")
            file.flush()
            await asyncio.sleep(0.1)
            assert follower.items == []
            file.write("b: 1\n")
        await follower.until_values({"a": 1, "b": 1})
        (tmp_path / "deep" / "er" / "inner").mkdir()
        (tmp_path / "deep" / "er" / "inner" / "z.yml").write_text("z: 1\n")
        await follower.until_values({"a": 1, "b": 1}, {"z": 1})


async def test_a_data_swap_of_a_mounted_volume_is_one_revision(tmp_path, follow) -> None:
    mount = Mount(tmp_path / "mount")
    mount.write(a="n: 0\n", b="n: 0\n", c="n: 0\n")
    async with follow(FileSource(f"{mount.folder}/")) as follower:
        for count in range(1, 10):
            text = f"n: {count}\n"
            mount.write(a=text, b=text, c=text)
            await follower.until_values({"n": count}, {"n": count}, {"n": count})
        assert [type(item) for item in follower.items] == [Reset] * 9
        assert {item.reason for item in follower.items} == {""}
        mount.write(a="n: 10\n", c="n: 9\n")
        await follower.until_values({"n": 10}, {"n": 9})
        mount.write(a="n: 10\n", c="n: 11\n", d="n: 12\n")
        await follower.until_values({"n": 10}, {"n": 11}, {"n": 12})


async def test_a_single_file_of_a_mounted_volume_is_followed_through_its_links(tmp_path, follow) -> None:
    mount = Mount(tmp_path / "mount")
    mount.write(app="n: 0\n")
    (tmp_path / "link").symlink_to(mount.folder)
    async with follow(FileSource(tmp_path / "link" / "app.yml")) as follower:
        for count in range(1, 10):
            mount.write(app=f"n: {count}\n")
            await follower.until_values({"n": count})
    assert {type(item) for item in follower.items} == {Batch}


async def test_a_volume_with_one_faulty_file_is_refused_whole(tmp_path, follow) -> None:
    mount = Mount(tmp_path / "mount")
    mount.write(a="n: 0\n", b="n: 0\n")
    async with follow(FileSource(f"{mount.folder}/")) as follower:
        mount.write(a="n: [\n", b="n: 1\n")
        failed = await follower.item(Failed)
        assert isinstance(failed.error, DocumentMalformed)
        assert failed.part == 0
        await follower.source.rescan()
        assert follower.document.parts[1].tree == {"n": 0}
        mount.write(a="n: 2\n", b="n: 2\n")
        await follower.until_values({"n": 2}, {"n": 2})
    assert follower.items[-1].document.revision > failed.revision


async def test_a_later_fix_is_taken_beside_a_file_that_is_still_faulty(tmp_path, follow) -> None:
    (tmp_path / "a.yml").write_text("n: 0\n")
    (tmp_path / "b.yml").write_text("n: 0\n")
    async with follow(FileSource(f"{tmp_path}/")) as follower:
        (tmp_path / "a.yml").write_text("n: [\n")
        await follower.item(Failed)
        (tmp_path / "b.yml").write_text("n: 1\n")
        await follower.until_values({"n": 0}, {"n": 1})
        again = await follower.item(Failed, 2)
        assert again.part == 0
        (tmp_path / "a.yml").write_text("n: 0\n")
        assert isinstance(await follower.item(Progress), Progress)


async def test_several_files_changed_offline_are_one_revision(tmp_path, follow) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yml").write_text("n: 0\n")
    source = FileSource(f"{tmp_path}/")
    document = await source.read()
    for name in "abc":
        (tmp_path / f"{name}.yml").write_text("n: 1\n")
    async with source.follow(document.revision) as stream, asyncio.timeout(5):
        item: Any = await anext(stream)
    assert isinstance(item, Reset)
    assert [part.tree["n"] for part in item.document.parts] == [1, 1, 1]


async def test_nothing_falls_between_the_read_and_the_watch(tmp_path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    source = FileSource(path)
    for count in range(1, 30):
        document = await source.read()
        path.write_text(f"a: {count}\n")
        async with source.follow(document.revision) as stream, asyncio.timeout(5):
            item: Any = await anext(stream)
            assert item.document.parts[0].tree == {"a": count}


async def test_a_write_through_another_hard_link_is_seen(tmp_path, follow) -> None:
    path, elsewhere = tmp_path / "app.yml", tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.write_text("a: 0\n")
    (elsewhere / "same.txt").hardlink_to(path)
    async with follow(FileSource(path, check_s=60)) as follower:
        (elsewhere / "same.txt").write_text("a: 1\n")
        await follower.until_values({"a": 1})


async def test_a_folder_replaced_by_rename_is_seen(tmp_path, follow) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "app.yml").write_text("a: 0\n")
    async with follow(FileSource(f"{tmp_path}/conf/", check_s=60)) as follower:
        for count in range(1, 5):
            (tmp_path / "fresh").mkdir()
            (tmp_path / "fresh" / "app.yml").write_text(f"a: {count}\n")
            (tmp_path / "conf").rename(tmp_path / f"old{count}")
            (tmp_path / "fresh").rename(tmp_path / "conf")
            await follower.until_values({"a": count})


async def test_a_deployment_link_that_is_switched_is_seen(tmp_path, follow) -> None:
    for count in range(4):
        (tmp_path / f"release{count}").mkdir()
        (tmp_path / f"release{count}" / "app.yml").write_text(f"a: {count}\n")
    (tmp_path / "current").symlink_to("release0")
    async with follow(FileSource(tmp_path / "current" / "app.yml", check_s=60)) as follower:
        for count in range(1, 4):
            (tmp_path / "current").unlink()
            (tmp_path / "current").symlink_to(f"release{count}")
            await follower.until_values({"a": count})


async def test_a_removed_folder_keeps_the_last_good_and_heals_when_it_is_back(tmp_path, follow) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "app.yml").write_text("a: 0\n")
    (folder / "b.yml").write_text("b: 0\n")
    async with follow(FileSource(f"{folder}/", grace_s=0.1, check_s=60)) as follower:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        failed = await follower.item(Failed)
        assert isinstance(failed.error, EmptiedSource)
        assert "herz accept" in str(failed.error)
        assert failed.place.endswith("conf")
        folder.mkdir()
        (folder / "app.yml").write_text("a: 1\n")
        (folder / "b.yml").write_text("b: 1\n")
        await follower.until_values({"a": 1}, {"b": 1})


async def test_a_file_deleted_from_a_folder_takes_its_part_with_it(tmp_path, follow) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yml").write_text(f"{name}: 0\n")
    async with follow(FileSource(f"{tmp_path}/", grace_s=0.1)) as follower:
        (tmp_path / "a.yml").unlink()
        await follower.until_values({"b": 0})
        (tmp_path / "a.yml").write_text("a: 1\n")
        await follower.until_values({"a": 1}, {"b": 0})
    assert not [item for item in follower.items if isinstance(item, Failed)]


@pytest.mark.parametrize("away", [Path.unlink, lambda path: path.write_text("")])
async def test_a_file_that_vanishes_or_is_emptied_is_kept_until_accepted(tmp_path, follow, away) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(FileSource(path, grace_s=0.1)) as follower:
        away(path)
        failed = await follower.item(Failed)
        assert isinstance(failed.error, EmptiedSource)
        await follower.source.rescan()
        assert follower.document.parts[0].tree == {"a": 0}
        assert follower.source.accept()
        await follower.source.rescan()
        await follower.until_values({})
        path.write_text("a: 2\n")
        await follower.until_values({"a": 2})


async def test_an_emptied_file_that_is_filled_within_the_grace_is_no_failure(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(FileSource(path, grace_s=5)) as follower:
        for count in range(1, 6):
            path.write_text("")
            await asyncio.sleep(0.02)
            path.write_text(f"a: {count}\n")
            await follower.until_values({"a": count})
    assert {type(item) for item in follower.items} == {Batch}


async def test_an_optional_file_comes_and_goes(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    async with follow(FileSource(path, optional=True, grace_s=0.05)) as follower:
        assert follower.document.parts == ()
        path.write_text("a: 1\n")
        await follower.until_values({"a": 1})
        path.unlink()
        await follower.until_values({})
    assert not [item for item in follower.items if isinstance(item, Failed)]


async def test_a_malformed_file_is_a_failure_and_the_next_good_one_a_change_against_the_last_good(
    tmp_path, follow
) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(FileSource(path)) as follower:
        path.write_text("a: [\n")
        failed = await follower.item(Failed)
        assert isinstance(failed.error, DocumentMalformed)
        assert "app.yml" in failed.place
        path.write_text("a: 2\n")
        batch = await follower.item(Batch)
    assert batch.events == ((("a",), 0, 2),)
    assert batch.revision > failed.revision


class Witness(InotifyWatch):
    """Remembers whether the kernel said that it dropped events."""

    dropped = False

    def take(self, into: Signals) -> None:
        super().take(into)
        Witness.dropped |= into.everything


async def test_an_overflow_of_the_event_queue_loses_nothing(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text("n: 0\n")
    source = FileSource(f"{tmp_path}/", check_s=600, listen=Witness)
    document = await source.read()
    async with source.follow(document.revision) as stream:
        # Nobody asks for an item, so that the queue fills up; the events of both files are dropped.
        for count in range(QUEUE + 100):
            (tmp_path / f"noise{count % 2}").write_bytes(b"")
        for name in ("a", "b"):
            (tmp_path / f"{name}.yml").write_text("n: 1\n")
        async with asyncio.timeout(10):
            item: Any = await anext(stream)
            while [part.tree["n"] for part in item.document.parts] != [1, 1]:
                item = await anext(stream)
    assert Witness.dropped


async def test_a_change_that_no_event_told_is_found_by_the_periodic_check(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    deaf = FileSource(path, check_s=0.05, listen=lambda wake: None)
    async with follow(deaf) as follower:
        for count in range(1, 4):
            renamed(path, f"a: {count}\n")
            await follower.until_values({"a": count})


async def test_a_rescan_and_the_watch_never_deliver_one_change_twice(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(FileSource(path)) as follower:
        for count in range(1, 60):
            path.write_text(f"a: {count}\n")
            await asyncio.gather(*(follower.source.rescan() for _ in range(3)))
        await follower.until_values({"a": 59})
    batches = [item for item in follower.items if isinstance(item, Batch)]
    assert [batch.events[0].after for batch in batches] == list(range(1, 60))
    revisions = [batch.revision for batch in batches]
    assert revisions == sorted(set(revisions))


async def test_a_rescan_works_where_watching_is_off(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    async with follow(FileSource(path, watch=WatchPaths(enabled=False), check_s=0.01)) as follower:
        path.write_text("a: 1\n")
        await asyncio.sleep(0.1)
        assert follower.items == []
        revision = await follower.source.rescan()
        await follower.until_values({"a": 1})
        assert follower.document.revision == revision


async def test_a_file_outside_the_watched_paths_is_loaded_named_and_not_watched(tmp_path, follow) -> None:
    for name in ("conf", "custom"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.yml").write_text("a: 0\n")
    paths = WatchPaths(paths=["classpath:/conf/"], base_folders=[tmp_path])
    source = FileSource("classpath:/conf/", "classpath:/custom/", base_folders=[tmp_path], watch=paths, check_s=0.05)
    async with follow(source) as follower:
        (tmp_path / "custom" / "app.yml").write_text("a: 1\n")
        (tmp_path / "conf" / "app.yml").write_text("a: 1\n")
        await follower.until_values({"a": 1}, {"a": 0})
        (uncovered,) = source.uncovered()
        assert uncovered.endswith("custom/app.yml")
        assert source.entry_for(uncovered) == "classpath:/custom/"
        await source.rescan()
        await follower.until_values({"a": 1}, {"a": 1})


async def test_two_followers_are_handed_the_same(tmp_path, follow) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    source = FileSource(path)
    async with follow(source) as one, follow(source) as two:
        for count in range(1, 20):
            path.write_text(f"a: {count}\n")
            await one.until_values({"a": count})
            await two.until_values({"a": count})
    assert one.items == two.items


async def test_a_cancelled_wait_loses_no_change(tmp_path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    source = FileSource(path)
    document = await source.read()
    seen: list[Any] = []
    async with source.follow(document.revision) as stream:
        for count in range(1, 40):
            path.write_text(f"a: {count}\n")
            try:
                async with asyncio.timeout(count * 0.0001):
                    seen.append(await anext(stream))
            except TimeoutError:
                continue
        while not seen or seen[-1].document.parts[0].tree != {"a": 39}:
            async with asyncio.timeout(5):
                seen.append(await anext(stream))
    befores = [item.events[0].before for item in seen]
    assert befores == [0, *(item.events[0].after for item in seen[:-1])]


async def test_a_fixed_file_held_back_by_another_faulty_one_comes_with_that_ones_fix(tmp_path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yml").write_text("n: 0\n")
    source = FileSource(f"{tmp_path}/")
    document = await source.read()
    async with source.follow(document.revision) as stream, asyncio.timeout(5):
        (tmp_path / "b.yml").write_text("n: [\n")
        assert isinstance(await anext(stream), Failed)
        (tmp_path / "a.yml").write_text("n: [\n")
        (tmp_path / "b.yml").write_text("n: 1\n")
        assert isinstance(await anext(stream), Failed)
        (tmp_path / "a.yml").write_text("n: 1\n")
        item = await anext(stream)
    assert isinstance(item, Reset)
    assert [part.tree["n"] for part in item.document.parts] == [1, 1]


@pytest.mark.parametrize("whole", ["", "app.yml"])
async def test_a_file_that_is_away_for_a_moment_is_neither_a_removal_nor_a_failure(tmp_path, follow, whole) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: 0\n")
    (tmp_path / "other.yml").write_text("o: 0\n")
    async with follow(FileSource(f"{tmp_path}/{whole}", grace_s=5)) as follower:
        others = [] if whole else [{"o": 0}]
        for count in range(1, 6):
            path.rename(tmp_path / "app.yml~")
            await asyncio.sleep(0.03)  # a slow editor: the source has looked meanwhile
            path.write_text(f"a: {count}\n")
            await follower.until_values({"a": count}, *others)
    assert {type(item) for item in follower.items} == {Batch}
