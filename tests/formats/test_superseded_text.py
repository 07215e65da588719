"""Documents of the past keep their bytes, and hardly any memory."""

from __future__ import annotations

import json
from array import array
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from herz.formats import text as module
from herz.formats.decode import decode, redecode
from herz.formats.difference import common_prefix, common_suffix
from herz.formats.pieces import Run, Runs
from herz.formats.text import KEYFRAME, Text

EDITS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.binary(max_size=6), st.booleans()), max_size=12)


def kept(text: Text) -> int:
    """Bytes that `text` holds by itself."""
    return len(text._data or b"") + len(text._packed) + (0 if text._edit is None else len(text._edit.old))


@given(st.binary(max_size=40), EDITS)
def test_every_version_of_a_text_can_be_read_after_any_edits_and_rewritings(first, edits):
    with mock.patch.multiple(module, LARGE=0, KEYFRAME=3):
        text = Text(first)
        versions = [(text, first)]
        for start, length, new, whole in edits:
            old = versions[-1][1]
            data = old[:start] + new + old[start + length :]
            if whole:
                text.supersede()
                text = Text(data)
            else:
                begin = common_prefix(old, data)
                end = len(old) - common_suffix(old, data, min(len(old), len(data)) - begin)
                text = text.edited(data, begin, end)
            versions.append((text, data))
        assert [text.data for text, _ in versions] == [data for _, data in versions]


def test_two_successors_of_one_text_leave_it_readable():
    with mock.patch.multiple(module, LARGE=0):
        text = Text(b"one two")
        text._age = 1
        first = text.edited(b"one 2", 4, 7)
        second = text.edited(b"1 two", 0, 3)
        text.supersede()
    assert (text.data, first.data, second.data) == (b"one two", b"one 2", b"1 two")


def document(version: int, *, keys: int = 20_000) -> bytes:
    return json.dumps({f"key{at}": version if at == version * 7 else at for at in range(keys)}, indent=1).encode()


def test_a_history_of_edits_holds_one_document_in_so_many_and_gives_each_one_s_lines():
    versions = [document(at) for at in range(KEYFRAME + 8)]
    history = [decode(versions[0], "json", name="n")]
    for data in versions[1:]:
        decoded, events = redecode(history[-1], data)
        assert events is not None
        history.append(decoded)
    assert sum(kept(decoded._text) for decoded in history) < 3.5 * len(versions[0])
    assert [decoded.data for decoded in history] == versions
    assert history[3].locate(("key19999",)) == 20_001


def test_a_rewritten_document_leaves_its_bytes_compressed():
    first = document(1)
    old = decode(first, "json", name="n")
    _, events = redecode(old, first.replace(b'": ', b'":  '))
    assert events is None
    assert kept(old._text) < len(first) / 2
    assert old.data == first


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.sampled_from(["", "a"])), min_size=1), st.data())
def test_runs_after_an_edit_are_those_of_the_new_document(shapes, data):
    position, runs = 0, []
    for gap, size, name in shapes:
        runs.append(Run(position + gap, position + gap + size, (name,) if name else (), len(name)))
        position += gap + size
    first = data.draw(st.integers(0, len(runs) - 1))
    last = first
    while last + 1 < len(runs) and runs[last + 1].path == runs[first].path and data.draw(st.booleans()):
        last += 1
    growth = data.draw(st.integers(runs[first].start - runs[last].end, 5))
    expected = [
        *runs[:first],
        runs[first]._replace(end=runs[last].end + growth),
        *(run._replace(start=run.start + growth, end=run.end + growth) for run in runs[last + 1 :]),
    ]
    before = Runs.of(runs)
    assert before.around(runs[first].start, runs[last].end) == (first, last)
    after = before.joined(first, last, growth)
    assert [after[at] for at in range(len(after))] == expected
    assert [before[at] for at in range(len(before))] == runs
    assert isinstance(after._starts, array)
