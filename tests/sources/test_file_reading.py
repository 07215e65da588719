"""What cannot be read is said with place and cause; what is being written is waited for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from herz.errors import DocumentMalformed, DocumentTooLarge, SourceUnavailable
from herz.formats.fault import Limits
from herz.sources.file_reading import read_whole
from herz.sources.files import FileSource


async def test_a_file_above_the_limit_is_refused_by_its_size(tmp_path) -> None:
    path = tmp_path / "big.yml"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    with pytest.raises(DocumentTooLarge, match=r"209715200 bytes.*big\.yml"):
        await FileSource(path, limits=Limits(max_bytes=1024)).read()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_said_and_does_not_block(tmp_path, make) -> None:
    make(tmp_path / "app.yml")
    with pytest.raises(SourceUnavailable, match=r"app\.yml"):
        read_whole(str(tmp_path / "app.yml"), max_bytes=100, place="app.yml")


async def test_a_file_whose_name_tells_no_format_is_said(tmp_path) -> None:
    (tmp_path / "app.conf").write_text("a: 1")
    with pytest.raises(DocumentMalformed, match=r"no known format.*app\.conf"):
        await FileSource(tmp_path / "app.conf").read()


async def test_links_in_a_circle_are_said(tmp_path) -> None:
    (tmp_path / "app.yml").symlink_to("other.yml")
    (tmp_path / "other.yml").symlink_to("app.yml")
    with pytest.raises(SourceUnavailable, match="symbolic links"):
        await FileSource(tmp_path / "app.yml").read()


async def test_a_first_read_waits_for_a_writer(tmp_path) -> None:
    path = tmp_path / "app.yml"
    begun = threading.Event()

    def write() -> None:
        with path.open("w") as file:
            file.write("a: 1\n")
            file.flush()
            begun.set()
            threading.Event().wait(0.1)
            file.write("b: 1\n")

    writer = threading.Thread(target=write)
    writer.start()
    await asyncio.to_thread(begun.wait)
    (part,) = (await FileSource(path).read()).parts
    writer.join()
    assert part.tree == {"a": 1, "b": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_an_unreadable_file_is_denied_and_heals_with_its_permission() -> None:
    script = """
import asyncio, os, sys
import asyncinotify, concurrent.futures.thread, herz.formats.yaml  # while this user may read them
from herz.errors import SourceDenied
from herz.model.document import Progress
from herz.sources.base import Failed
from herz.sources.files import FileSource

async def main(path):
    source = FileSource(path, check_s=60)
    document = await source.read()
    async with source.follow(document.revision) as stream, asyncio.timeout(10):
        os.chmod(path, 0)
        failed = await anext(stream)
        assert isinstance(failed, Failed) and isinstance(failed.error, SourceDenied), failed
        try:
            await FileSource(path).read()
        except SourceDenied as error:
            assert "app.yml" in str(error) and "permission" in str(error), error
        os.chmod(path, 0o600)
        assert isinstance(await anext(stream), Progress)
    print("denied and healed")

os.setuid(65534)
asyncio.run(main(sys.argv[1]))
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.yml"
        path.write_text("a: 0\n")
        for each in (folder, path):
            os.chown(each, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", script, path],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.stdout == "denied and healed\n", done.stderr


def test_a_forked_child_follows_on_its_own(tmp_path) -> None:
    script = """
import asyncio, os, sys
from herz.sources.files import FileSource

path = sys.argv[1]
source = FileSource(path)

async def child(revision):
    async with source.follow(revision) as stream, asyncio.timeout(10):
        with open(path, "w") as file:
            file.write("a: 1")
        return (await anext(stream)).document.parts[0].tree["a"]

async def parent():
    document = await source.read()
    async with source.follow(document.revision) as stream, asyncio.timeout(20):
        lock = source._lock()
        await lock.acquire()  # as if forked in the middle of a look
        pid = os.fork()
        if pid == 0:
            os._exit(forked(document.revision))
        lock.release()
        item = await anext(stream)
        assert item.document.parts[0].tree["a"] == 1
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        print("both saw it" if status == 0 else "child failed", flush=True)

def forked(revision):
    import threading
    seen = []
    thread = threading.Thread(target=lambda: seen.append(asyncio.run(child(revision))))
    thread.start()
    thread.join(15)
    return 0 if seen == [1] else 1

asyncio.run(parent())
"""
    path = tmp_path / "app.yml"
    path.write_text("a: 0")
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.stdout == "both saw it\n", done.stderr
