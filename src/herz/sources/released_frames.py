"""What a control plane's stream says, understood: frames from bytes, contents from spans. No I/O.

Everything here comes from a network: what is not what it should be ends the stream with `HistoryBroken`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import field

from herz.errors import HistoryBroken
from herz.release.channel import STABLE, Pointer
from herz.release.content import CONTENT_BYTES, Content, Format, LayerText
from herz.release.report import Ask

LINE_BYTES: Final = 2 * CONTENT_BYTES
"""What one frame may take: a content of which every second character is escaped."""

F = TypeVar("F")


class Hello(msgspec.Struct, frozen=True):
    """The first frame. `stream` is shown with whatever this instance says of itself.

    Not `continues`: the store never held what this instance was told last, whatever its revision is.
    """

    identity: str
    revision: int
    server: str = ""
    proof_s: float = 10.0
    stream: str = ""
    continues: bool = True


class LayerFrame(msgspec.Struct, frozen=True):
    """A layer as a whole, or the one span in which it differs from the base's of the same name, in characters."""

    name: str
    format: Format = "yaml"
    dimension: str = "application"
    text: str | None = None
    at: int = 0
    drop: int = 0
    put: str = ""


class ContentFrame(msgspec.Struct, frozen=True):
    """A content, relative to `base` where that is given."""

    digest: str
    base: str | None = None
    layers: tuple[LayerFrame, ...] = ()


class StateFrame(msgspec.Struct, frozen=True):
    """What to run and what to build. `mark` is shown when the stream is opened again."""

    revision: int
    cohort: str = STABLE
    pointer: Pointer = Pointer()
    mark: str = ""


class AskFrame(msgspec.Struct, frozen=True):
    """A question."""

    ask: Ask


class AliveFrame(msgspec.Struct, frozen=True):
    """Nothing up to `revision` is missing."""

    revision: int


class EndFrame(msgspec.Struct, frozen=True):
    """The last frame, and why."""

    problem: dict[str, Any] = field(default_factory=dict)


Frame: TypeAlias = Hello | ContentFrame | StateFrame | AskFrame | AliveFrame | EndFrame

_KINDS: Final[dict[str, type[Frame]]] = {
    "hello": Hello,
    "content": ContentFrame,
    "state": StateFrame,
    "ask": AskFrame,
    "alive": AliveFrame,
    "end": EndFrame,
}


class _Kind(msgspec.Struct):
    type: str


class Lines:
    """Cuts what arrives into lines."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        if b"\n" not in data:
            self._rest += data
            self._check()
            return []
        first, *more = data.split(b"\n")
        self._rest += first
        self._check()
        lines = [bytes(self._rest), *more[:-1]]
        self._rest = bytearray(more[-1])
        self._check()
        return [line for line in lines if line.strip()]

    def _check(self) -> None:
        if len(self._rest) > LINE_BYTES:
            raise broken(f"a frame of more than {LINE_BYTES:,} bytes", self._where)


def frame_of(line: bytes, where: str) -> Frame | None:
    """The frame in `line`; None for one of a kind that a newer server may know."""
    try:
        kind = _KINDS.get(msgspec.json.decode(line, type=_Kind).type)
        return None if kind is None else msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(f"a frame cannot be understood: {error}", where) from error


def frames_of(answer: bytes, where: str) -> list[Frame]:
    """The frames of one answer to a client that asks again and again: a JSON array."""
    try:
        raw = msgspec.json.decode(answer, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(f"an answer cannot be understood: {error}", where) from error
    return [frame for one in raw if (frame := frame_of(bytes(one), where)) is not None]


def content_of(frame: ContentFrame, base: Content | None) -> Content | None:
    """What `frame` says; None when that cannot be told from `base`. Whether it is right is told by its digest."""
    known = {} if base is None else {layer.name: layer.text for layer in base.layers}
    layers: list[LayerText] = []
    for layer in frame.layers:
        text = layer.text
        if text is None:
            before = known.get(layer.name)
            if before is None or not 0 <= layer.at <= layer.at + layer.drop <= len(before):
                return None
            text = before[: layer.at] + layer.put + before[layer.at + layer.drop :]
        layers.append(LayerText(name=layer.name, text=text, format=layer.format, dimension=layer.dimension))
    return Content(layers=tuple(layers))


def broken(what: str, where: str) -> HistoryBroken:
    """What a stream says is no frame, or cannot follow on what it said before."""
    return HistoryBroken(what, where=where, remedy="nothing of it is applied; another stream is opened")
