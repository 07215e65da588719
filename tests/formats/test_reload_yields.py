"""A reload decodes piece by piece, and each format's decoder is imported on first use only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from herz.formats.decode import decode, redecode

KEYS = 40_000


def document(format) -> bytes:
    table = {f"section{s}": {f"key{k}": f"value-{s}-{k}" for k in range(100)} for s in range(KEYS // 100)}
    if format == "json":
        return json.dumps(table).encode()
    return "".join(
        f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in inner.items()) for name, inner in table.items()
    ).encode()


@pytest.mark.parametrize("format", ["json", "yaml"])
def test_a_large_document_is_cut_into_many_pieces(format):
    decoded = decode(document(format), format, name="n", yielding=True)
    runs = decoded._notes.runs
    assert runs is not None
    assert len(runs) > 20
    assert max(runs[at].end - runs[at].start for at in range(len(runs))) < 64 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("format", ["json", "yaml"])
def test_another_thread_runs_on_while_a_document_is_decoded_again(format):
    data = document(format)
    old = decode(data, format, name="n")
    gaps = []
    done = threading.Event()
    worked = time.pthread_getcpuclockid(threading.get_ident())  # what others do to the processors does not count

    def watch():
        last = time.clock_gettime(worked)
        while not done.is_set():
            now = time.clock_gettime(worked)
            gaps.append(now - last)
            last = now

    watcher = threading.Thread(target=watch)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # so that what is measured is calls that do not let go, not the interval
    try:
        watcher.start()
        for turn in range(5):
            redecode(old, data.replace(b"value-", b"other%d-" % turn))
    finally:
        done.set()
        watcher.join()
        sys.setswitchinterval(before)
    gaps.sort()
    # A busy machine may not let the watcher ask for its turn now and then; a call that holds on is in every round.
    assert gaps[-5] < 0.02


def test_importing_the_door_imports_no_decoder():
    code = (
        "import sys, herz.formats.decode as d; "
        "print([m for m in ('yaml', 'ryaml', 'javaproperties', 'dotenv', 'tomllib', 'msgspec') if m in sys.modules])"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert not any(name in modules for name in ("yaml", "javaproperties", "dotenv", "tomllib"))


@pytest.mark.parametrize("format", ["json", "yaml"])
def test_what_the_first_change_needs_is_imported_with_the_decoder(format):
    # A child that is forked while a thread imports waits for ever when it imports the same.
    code = (
        "import sys; from herz.formats.decode import decode, redecode; "
        f"old = decode({document(format)!r}, {format!r}, name='n'); before = set(sys.modules); "
        "old.prepare(); old.lines(); redecode(old, old.data.replace(b'value-3-', b'other-3-')); "
        "print(*(set(sys.modules) - before))"
    )
    imported = subprocess.run(
        [sys.executable, "-"],
        input=code,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert imported.split() == []
