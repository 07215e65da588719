"""Whether an event of a watch follows on what was handed on before it: that nothing of its key was lost in between."""

from __future__ import annotations

from herz.store.base import Entry, EventType, KeyEvent


def gap(event: KeyEvent, held: Entry | None, revision: int) -> str | None:
    """Why `event` of `revision` cannot follow on `held`, all that we were told of its key; None when it does.

    The revision that created a key and its version name one entry of a history, and the next event of the key
    has the same creation and the next version. So this sees a put of the key that was lost, and a deletion that was,
    whether or not the store tells what was replaced (`previous`); where it does, that must be what we hold.
    """
    entry, previous = event.entry, event.previous
    if previous is not None and previous != held:
        return f"it replaces revision {previous.mod_revision}, which was not handed on"
    if event.type is EventType.DELETE:
        return "it deletes what was not handed on" if held is None else None
    version, created = (0, revision) if held is None else (held.version, held.create_revision)
    if entry.version != version + 1:
        return f"version {entry.version} does not follow version {version}"
    if entry.create_revision != created or entry.mod_revision != revision:
        return f"it was created by revision {entry.create_revision}, and what was handed on by {created}"
    return None
