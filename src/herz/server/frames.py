"""What a stream says, frame by frame: one JSON object a line, encoded once and written to everybody whom it concerns.

A content is told relative to one that the client has: for each layer the one span of text that differs, as `at` and
`drop` (in characters) and `put`; or the whole text, where that is no longer. All layers are listed, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from herz.model.document import Revision
from herz.release.channel import Pointer
from herz.release.content import Content, LayerText
from herz.release.report import Ask

SPAN_BYTES: Final = 32
"""What `at`, `drop` and `put` take more than `text` does."""

_encode = msgspec.json.Encoder().encode


def _frame(members: Mapping[str, Any]) -> bytes:
    return _encode(members) + b"\n"


def hello(
    *, identity: str, revision: Revision, server: str, proof_s: float, stream: str, continues: bool = True
) -> bytes:
    """The first frame. `stream` is sent back as `X-Herz-Stream` with whatever the client says of itself.

    `continues` is False when the store has never held what the client shows that it was told.
    """
    told = {
        "type": "hello",
        "identity": identity,
        "revision": revision,
        "server": server,
        "proof_s": proof_s,
        "stream": stream,
    }
    return _frame(told if continues else {**told, "continues": False})


def state(revision: Revision, cohort: str, pointer: Pointer, mark: str = "") -> bytes:
    """What to run and what to build, as of `revision`. `mark` is shown again by who comes back."""
    told = {"type": "state", "revision": revision, "cohort": cohort, "pointer": pointer}
    return _frame({**told, "mark": mark} if mark else told)


def ask(question: Ask) -> bytes:
    """A question."""
    return _frame({"type": "ask", "ask": question})


def alive(revision: Revision) -> bytes:
    """Nothing up to `revision` is missing."""
    return _frame({"type": "alive", "revision": revision})


def end(problem: Mapping[str, Any]) -> bytes:
    """The last frame, and why."""
    return _frame({"type": "end", "problem": problem})


def content(digest: str, wanted: Content, base: str | None = None, held: Content | None = None) -> bytes:
    """The content `digest`, relative to `held`, which the client has as `base`; whole without."""
    if held is None:
        return _frame(
            {"type": "content", "digest": digest, "base": None, "layers": [_whole(one) for one in wanted.layers]}
        )
    known = {layer.name: layer.text for layer in held.layers}
    layers = [_whole(one) if one.name not in known else _span(one, known[one.name]) for one in wanted.layers]
    return _frame({"type": "content", "digest": digest, "base": base, "layers": layers})


def _whole(layer: LayerText) -> dict[str, Any]:
    return {"name": layer.name, "format": layer.format, "dimension": layer.dimension, "text": layer.text}


def _span(layer: LayerText, before: str) -> dict[str, Any]:
    after = layer.text
    at = common_prefix(before, after)
    kept = common_suffix(before[at:], after[at:])
    put = after[at : len(after) - kept]
    if len(put) + SPAN_BYTES >= len(after) and before != after:
        return _whole(layer)
    drop = len(before) - at - kept
    return {
        "name": layer.name,
        "format": layer.format,
        "dimension": layer.dimension,
        "at": at,
        "drop": drop,
        "put": put,
    }


def common_prefix(a: str, b: str) -> int:
    """How many characters both begin with. Compares slices, so that a text of 10 MB takes milliseconds."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(a: str, b: str) -> int:
    """How many characters both end with."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low
