"""The files of one source as parts of one document, each with its last good content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from herz.errors import DocumentMalformed, EmptiedSource, HerzError
from herz.formats.decode import Decoded, decode, format_of, redecode
from herz.formats.fault import Limits
from herz.formats.pace import Pace, uncollected
from herz.model.document import Document, Event, Locator, Revision
from herz.model.key import Path
from herz.model.origin import Origin
from herz.model.tree import adopt
from herz.sources.file_patterns import Member
from herz.sources.file_reading import Reading, Signature

Observation: TypeAlias = Reading | HerzError | None
"""What a look at one file finds: its content, why it cannot be read, or that there is none."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Part:
    """One file at its last good content."""

    member: Member
    place: str
    signature: Signature
    data: bytes
    decoded: Decoded
    document: Document


@dataclass(frozen=True, slots=True)
class Held:
    """All parts at one moment, in merge order, and the document they make."""

    parts: tuple[Part, ...]
    document: Document

    def find(self, path: str) -> tuple[int, Part] | None:
        """The part of the file at `path`, with its index."""
        for index, part in enumerate(self.parts):
            if part.member.path == path:
                return index, part
        return None


def token(observation: Observation) -> object:
    """What is equal for two looks that found the same."""
    if isinstance(observation, Reading):
        return observation.data
    return observation if observation is None else (type(observation), str(observation))


def blank(data: bytes) -> bool:
    """Whether there is nothing in the file but white space."""
    return not data.removeprefix(_BOM).strip()


def emptied(place: str, what: str) -> EmptiedSource:
    """The error for content that is suddenly gone."""
    return EmptiedSource(
        f"{what}, although it had content; keeping the last good one",
        where=place,
        remedy="restore it, or run `herz accept` if it is meant to be empty",
    )


def part_of(
    member: Member,
    place: str,
    reading: Reading,
    revision: Revision,
    before: Part | None,
    limits: Limits,
    *,
    yielding: bool,
) -> tuple[Part, tuple[Event, ...]]:
    """The part that `reading` makes, and what changed against `before`; `DocumentMalformed` when it cannot be read."""
    format = format_of(member.path)
    if format is None:
        raise DocumentMalformed(
            "the name's ending tells no known format",
            where=place,
            remedy="name it .yml, .json, .toml, .properties or .env",
        )
    with uncollected():
        decoded, events = _decoded(place, format, reading.data, before, limits, yielding=yielding)
    document = Document(
        Origin(place, "file"), revision, decoded.tree, _locator(decoded, place), references=decoded.references
    )
    return Part(member, place, reading.signature, reading.data, decoded, document), events


def _decoded(
    place: str, format: str, data: bytes, before: Part | None, limits: Limits, *, yielding: bool
) -> tuple[Decoded, tuple[Event, ...]]:
    events: tuple[Event, ...] | None = None
    if before is None or not before.decoded.tree:
        decoded = decode(data, format, name=place, limits=limits, yielding=yielding)
    else:
        decoded, events = redecode(before.decoded, data)
    if events is None:  # a file that is new changes the list of parts, and nobody asks for its events
        fresh = cast(dict[str, Any], decoded.tree)  # a whole decoding makes dicts, and nobody has seen them yet
        pause = Pace()
        events = () if before is None else tuple([Event(*at) for at in adopt(before.decoded.tree, fresh, pause)])
        pause()
    return decoded, events


def _locator(decoded: Decoded, place: str) -> Locator:
    def locate(path: Path) -> str:
        line = decoded.locate(path)
        return place if line is None else f"{place}:{line}"

    return locate


def woven(members: Iterable[Member], kept: Sequence[Member]) -> list[Member]:
    """`members` in their order, with those of `kept` that are not among them after the one they stood behind."""
    order = list(members)
    present = {member.path for member in order}
    previous: str | None = None
    for member in kept:
        if member.path not in present:
            at = next((index + 1 for index, other in enumerate(order) if other.path == previous), 0)
            order.insert(at, member)
        previous = member.path
    return order
