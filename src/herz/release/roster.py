"""Who took part in a rollout, and how that went for each: values, and the compact record of them.

The record is kept for as long as people may ask, of fleets of any size. So it is packed, names those first that were
not well, and says how many it leaves out.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from herz.errors import DocumentMalformed
from herz.release.record import Record, decode
from herz.release.rollout_step import Step

PARTICIPANTS: Final = 5_000
"""Instances that a record names at most."""
PACKED_BYTES: Final = 256 * 1024
"""What a record may take in the store."""
ERROR_CHARACTERS: Final = 500
"""How much of an error is kept."""
_UNPACKED_BYTES: Final = 16 * 1024 * 1024
_FORMAT: Final = 1


class Participant(Record, frozen=True, kw_only=True):
    """One instance's part in a rollout. Times are when the control plane learned of it, None where it did not.

    `prepared` is when it had built the release, `committed` when it reported to run it, `verified` when it proved that:
    it answered, after `took_ms` milliseconds, with `fingerprint`. Who answered and is not verified ran something else.
    `config_version` is the number of the release that it reported last. `error` says why it failed, also once it is
    back.
    """

    instance: str
    batch: int
    step: Step
    prepared: datetime | None = None
    committed: datetime | None = None
    verified: datetime | None = None
    took_ms: float | None = None
    fingerprint: str | None = None
    config_version: int | None = None
    error: str | None = None

    @property
    def well(self) -> bool:
        """Whether nobody needs to look at it: it is where the rollout led it, without an error."""
        return self.error is None and self.step in (Step.VERIFIED, Step.BACK)


class Roster(Record, frozen=True, kw_only=True):
    """The instances that took part in a rollout: `members` of them, of which `left_out` are not named here.

    Not `recorded`: the rollout ended before such records were kept, or its record has been removed since.
    """

    rollout: str
    participants: tuple[Participant, ...] = ()
    members: int = 0
    left_out: int = 0
    recorded: bool = True


def pack(roster: Roster, begun: datetime, fingerprint: str) -> bytes:
    """The record of a roster, of at most `PACKED_BYTES`; `begun` and `fingerprint` are what most of it is told from.

    Of too many participants those are kept that are not well, then the first of the first batches.
    """
    kept: Sequence[Participant] = roster.participants
    most = PARTICIPANTS
    while True:
        if len(kept) > most:
            kept = sorted(kept, key=lambda one: (one.well, one.batch, one.instance))[:most]
        left_out = roster.left_out + len(roster.participants) - len(kept)
        lines = [_line(one, begun, fingerprint) for one in kept]
        record = _Packed(_FORMAT, roster.rollout, begun, fingerprint, roster.members, left_out, lines)
        packed = zlib.compress(msgspec.json.encode(record), 1)
        if len(packed) <= PACKED_BYTES:
            return packed
        most = min(len(kept) - 1, len(kept) * PACKED_BYTES // len(packed))


def unpack(packed: bytes, where: str) -> Roster:
    """The roster that was packed, its participants by name; `DocumentMalformed` with `where` when it is none."""
    try:
        inflating = zlib.decompressobj()
        data = inflating.decompress(packed, _UNPACKED_BYTES)
    except zlib.error as error:
        raise _malformed(str(error), where) from error
    if not inflating.eof:
        raise _malformed("it is cut short, or too long", where)
    record = decode(data, _Packed, where)
    if record.format != _FORMAT:
        raise _malformed(f"it has format {record.format}", where)
    participants = [_participant(line, record) for line in record.lines]
    participants.sort(key=lambda one: one.instance)
    return Roster(
        rollout=record.rollout,
        participants=tuple(participants),
        members=record.members,
        left_out=record.left_out,
    )


class _Line(msgspec.Struct, array_like=True, frozen=True):
    """A participant: times in milliseconds since the rollout began, the released fingerprint as True."""

    instance: str
    batch: int
    step: Step
    prepared: int | None
    committed: int | None
    verified: int | None
    took_ms: float | None
    fingerprint: bool | str | None
    config_version: int | None
    error: str | None


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    format: int
    rollout: str
    begun: datetime
    fingerprint: str
    members: int
    left_out: int
    lines: list[_Line]


def _line(one: Participant, begun: datetime, fingerprint: str) -> _Line:
    error = one.error
    if error is not None and len(error) > ERROR_CHARACTERS:
        error = error[: ERROR_CHARACTERS - 1] + "…"
    return _Line(
        one.instance,
        one.batch,
        one.step,
        _since(one.prepared, begun),
        _since(one.committed, begun),
        _since(one.verified, begun),
        None if one.took_ms is None else round(one.took_ms, 1),
        True if one.fingerprint == fingerprint else one.fingerprint,
        one.config_version,
        error,
    )


def _participant(line: _Line, record: _Packed) -> Participant:
    return Participant(
        instance=line.instance,
        batch=line.batch,
        step=line.step,
        prepared=_at(line.prepared, record.begun),
        committed=_at(line.committed, record.begun),
        verified=_at(line.verified, record.begun),
        took_ms=line.took_ms,
        fingerprint=record.fingerprint if line.fingerprint is True else line.fingerprint or None,
        config_version=line.config_version,
        error=line.error,
    )


def _since(time: datetime | None, begun: datetime) -> int | None:
    return None if time is None else round((time - begun).total_seconds() * 1000)


def _at(milliseconds: int | None, begun: datetime) -> datetime | None:
    return None if milliseconds is None else begun + timedelta(milliseconds=milliseconds)


def _malformed(what: str, where: str) -> DocumentMalformed:
    return DocumentMalformed(
        f"not a record of who took part: {what}", where=where, remedy="read it with the Herz that wrote it"
    )
