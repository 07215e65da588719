"""One change of an application's configuration, as history keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from herz.errors import StoreCorrupt
from herz.model.secret import MASK
from herz.store.base import Entry

Sealed: TypeAlias = tuple[str | None, str | None]
"""A secret before and after."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key's text before and after; None where it was absent. A secret is `••••` where it was present."""

    key: str
    before: str | None
    after: str | None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Who changed what, when and why. Holds no secret.

    `revision` is the store's, `number` counts the changes of the application from 1. `rollback_to` is the
    revision whose values were brought back, None for an ordinary change.
    """

    revision: int
    number: int
    author: str
    message: str
    time: datetime
    changes: tuple[Change, ...]
    rollback_to: int | None = None


def masked(change: Change) -> Change:
    """The same change with its values replaced by `••••`."""
    before, after = (None if text is None else MASK for text in (change.before, change.after))
    return Change(change.key, before, after, secret=True)


def write_record(record: Record) -> bytes:
    """The bytes of a record; its revision is that of the entry which holds it."""
    return _json(
        {
            "number": record.number,
            "author": record.author,
            "message": record.message,
            "time": record.time.isoformat(),
            "rollback_to": record.rollback_to,
            "changes": [
                {"key": change.key, "before": change.before, "after": change.after, "secret": change.secret}
                for change in record.changes
            ],
        }
    )


def read_record(entry: Entry) -> Record:
    """The record in an entry; `StoreCorrupt` when it is none."""
    try:
        data = json.loads(entry.value)
        return Record(
            entry.mod_revision,
            data["number"],
            data["author"],
            data["message"],
            datetime.fromisoformat(data["time"]),
            tuple(Change(each["key"], each["before"], each["after"], each["secret"]) for each in data["changes"]),
            data["rollback_to"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(entry) from error


def write_sealed(values: dict[str, Sealed]) -> bytes:
    """The bytes of the secret values of a record."""
    return _json(values)


def read_sealed(entry: Entry) -> dict[str, Sealed]:
    """The secret values in an entry; `StoreCorrupt` when there are none."""
    try:
        return {key: (before, after) for key, (before, after) in json.loads(entry.value).items()}
    except (ValueError, AttributeError, TypeError):
        raise _unreadable(entry) from None  # the cause quotes the text


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _unreadable(entry: Entry) -> StoreCorrupt:
    return StoreCorrupt(
        "a record of the history cannot be read",
        where=f"{entry.key}@{entry.mod_revision}",
        remedy="delete it with the records before it (prune), or restore the store from a backup",
    )
