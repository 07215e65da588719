"""What the creation and the version of a key's events show of those that were lost, for any history of a key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from herz.store.base import Entry, EventType, KeyEvent
from herz.store.continuity import gap


def history(puts: list[bool]) -> list[KeyEvent]:
    """The events of one key as a store tells them, one a revision; a deletion of nothing is none."""
    events: list[KeyEvent] = []
    held: Entry | None = None
    for revision, is_put in enumerate(puts, 2):
        if is_put:
            created, version = (revision, 1) if held is None else (held.create_revision, held.version + 1)
            entry = Entry("/a", b"%d" % revision, created, revision, version)
            events.append(KeyEvent(EventType.PUT, entry, held))
            held = entry
        elif held is not None:
            events.append(KeyEvent(EventType.DELETE, Entry("/a", b"", 0, revision, 0), held))
            held = None
    return events


def after(event: KeyEvent) -> Entry | None:
    return event.entry if event.type is EventType.PUT else None


histories = st.lists(st.booleans(), min_size=1, max_size=12).map(history).filter(bool)


@given(histories, st.booleans())
def test_what_was_not_lost_follows(events: list[KeyEvent], previous: bool) -> None:
    held: Entry | None = None
    for event in events:
        told = event if previous else event._replace(previous=None)
        assert gap(told, held, event.entry.mod_revision) is None
        held = after(event)


@given(histories, st.data())
def test_what_was_lost_shows_at_the_next_event(events: list[KeyEvent], data: st.DataObject) -> None:
    """But for two cases, which leave no trace in what is held: a put right before the deletion, and a whole life."""
    last = data.draw(st.integers(0, len(events) - 1))
    first = data.draw(st.integers(0, last))  # events[first:last] are lost
    held, event = after(events[first - 1]) if first else None, events[last]
    whole_lives = held is None and event.previous is None
    before_a_deletion = held is not None and event.type is EventType.DELETE
    found = gap(event._replace(previous=None), held, event.entry.mod_revision)
    assert (found is None) is (first == last or whole_lives or before_a_deletion)
    # Told what was replaced, a watch sees the put before the deletion as well, and nothing else.
    told = gap(event, held, event.entry.mod_revision)
    assert (told is None) is (event.previous == held)
    if found is not None:
        assert told is not None


@given(histories)
def test_what_comes_again_does_not_follow_on_itself(events: list[KeyEvent]) -> None:
    for event in events:
        assert gap(event._replace(previous=None), after(event), event.entry.mod_revision) is not None
