"""Content frames: put together, they are exactly what was written; and they carry no more than they must."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from herz.release.content import Content, LayerText
from herz.server import frames
from herz.server.sized import Sized

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LAYERS = st.dictionaries(st.sampled_from("abc"), TEXT, max_size=3)


def content(layers: dict[str, str]) -> Content:
    return Content(layers=tuple(LayerText(name=name, text=text) for name, text in layers.items()))


@given(LAYERS, LAYERS)
def test_what_a_frame_makes_of_the_base_is_the_content(applied, before, after):
    frame = json.loads(frames.content("d", content(after), "b", content(before)))
    assert applied(content(before), frame["layers"]) == content(after)


@given(TEXT, TEXT, TEXT, TEXT)
def test_a_span_is_found_between_what_stays(applied, head, old, new, tail):
    before, after = content({"a": head + old + tail}), content({"a": head + new + tail})
    frame = json.loads(frames.content("d", after, "b", before))
    assert applied(before, frame["layers"]) == after
    (layer,) = frame["layers"]
    assert len(layer.get("put", layer.get("text"))) <= len(new) + len(layer.get("text", ""))


@given(TEXT, TEXT)
def test_prefix_and_suffix_are_the_longest(a, b):
    at = frames.common_prefix(a, b)
    assert a[:at] == b[:at]
    assert a[at : at + 1] != b[at : at + 1] or at == min(len(a), len(b))
    kept = frames.common_suffix(a, b)
    assert a[len(a) - kept :] == b[len(b) - kept :]


def test_without_a_base_every_layer_is_whole():
    frame = json.loads(frames.content("d", content({"a": "x", "b": "y"})))
    assert frame["base"] is None
    assert [layer["text"] for layer in frame["layers"]] == ["x", "y"]


def test_an_unchanged_layer_costs_nothing():
    text = "key: value\n" * 10_000
    data = frames.content("d", content({"a": text, "b": "2"}), "b", content({"a": text, "b": "1"}))
    assert len(data) < 300


def test_one_key_of_ten_megabytes_is_told_in_a_few_bytes():
    lines = [f"key{number}: {number}\n" for number in range(600_000)]
    before = "".join(lines)
    lines[300_000] = "key300000: other\n"
    assert len(before) > 10_000_000
    assert len(frames.content("d", content({"a": "".join(lines)}), "b", content({"a": before}))) < 300


def test_where_all_is_new_the_whole_text_is_sent():
    frame = json.loads(frames.content("d", content({"a": "abc"}), "b", content({"a": "xyz"})))
    assert frame["layers"] == [{"name": "a", "format": "yaml", "dimension": "application", "text": "abc"}]


def test_a_frame_is_one_line():
    assert frames.content("d", content({"a": "x\ny\r\n\u2028z"})).count(b"\n") == 1


def test_a_memory_of_bytes_keeps_those_used_last():
    kept: Sized[str, bytes] = Sized(10, len)
    kept.put("a", b"1234")
    kept.put("b", b"1234")
    assert kept.get("a") == b"1234"
    kept.put("c", b"1234")
    assert ("a" in kept, "b" in kept, "c" in kept) == (True, False, True)
    kept.put("d", b"x" * 50)
    assert ("a" in kept, "d" in kept) == (False, True)
