"""Proposals: what might be put in force next, best first, and what that makes of the composition.

A document that is refused waits: it is proposed again together with every later change, then left out, so that one bad
document never holds up another's fixes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from msgspec import Struct

from herz.app.feed import Feed, Refusal, layers_of
from herz.merge.composition import Composition
from herz.model.document import Batch, Document, Event, Reset, Revision, replay
from herz.sources.base import Item, Prepare

FEW: Final = 256
"""Events of one update up to which few objects are made."""


class Step(Struct):
    """One revision of a proposal: the composition after it and the leaves that it changed."""

    revision: Revision
    reset: bool
    composition: Composition
    events: Sequence[Event]


class Proposal(Struct):
    """What might be put in force: a document for some feeds, in place of the accepted ones."""

    documents: dict[int, Document]
    steps: Callable[[], list[Step]]
    waits: Document | None = None
    """What stays refused: the source's whole document, where only its last revision is proposed."""
    small: bool = False
    """Whether few events are all there is: then keeping the collector away would cost more than it saves."""


def proposals(
    feeds: Sequence[Feed], composition: Composition, feed: Feed, items: Sequence[Batch | Reset]
) -> Iterator[Proposal]:
    """What to try for `items` of `feed`, best first."""
    index = feeds.index(feed)
    document = items[-1].document

    def whole(documents: dict[int, Document]) -> list[Step]:
        reset = any(isinstance(item, Reset) and item.reason for item in items)
        return [_whole(feeds, composition, documents, revision_of(items[-1]), reset)]

    others: dict[int, Document] = {}
    for at, other in enumerate(feeds):
        if other.refused is not None and other is not feed:
            others[at] = other.refused.document
    if others:
        everything = {index: document, **others}
        yield Proposal(everything, lambda: whole(everything))
    alone = {index: document}
    batches = [item for item in items if isinstance(item, Batch)]
    if feed.refused is None and len(batches) == len(items):
        small = sum([len(batch.events) for batch in batches]) <= FEW
        yield Proposal(alone, lambda: _steps(feeds, composition, index, batches), small=small)
    else:
        yield Proposal(alone, lambda: whole(alone))
    if feed.refused is not None and feed.keyed and len(items) == 1 and isinstance(items[0], Batch):
        tree = replay(feed.accepted.tree, items[0].events)
        without = {index: replace(document, tree=tree)}
        yield Proposal(without, lambda: whole(without), waits=document)


def again(feeds: Sequence[Feed], composition: Composition, index: int, refusal: Refusal) -> Proposal:
    """What was refused, once more."""
    # Newer revisions may have been put in force without it: then it is told as of them, and marked.
    late = refusal.document.revision > refusal.revision
    at = max(refusal.document.revision, refusal.revision)
    documents = {index: refusal.document}
    return Proposal(documents, lambda: [_whole(feeds, composition, documents, at, late)])


def ahead(feeds: Sequence[Feed], composition: Composition, feed: Feed, asked: Prepare) -> Proposal:
    """What is `asked` to be built ahead, on top of what is in force."""
    index, document = feeds.index(feed), asked.document
    assert document is not None  # noqa: S101  nothing is built for a withdrawal
    alone = {index: document}
    if asked.events is not None and feed.refused is None:
        batch = Batch(asked.revision, asked.events, document, asked.part)
        small = len(asked.events) <= FEW
        return Proposal(alone, lambda: _steps(feeds, composition, index, [batch]), small=small)
    return Proposal(alone, lambda: [_whole(feeds, composition, alone, asked.revision, False)])


def _whole(
    feeds: Sequence[Feed], composition: Composition, documents: dict[int, Document], revision: Revision, reset: bool
) -> Step:
    chosen = [documents.get(at, feed.accepted) for at, feed in enumerate(feeds)]
    composition, events = composition.evolved(layers_of(feeds, chosen))
    return Step(revision, reset, composition, events)


def _steps(feeds: Sequence[Feed], composition: Composition, index: int, batches: Sequence[Batch]) -> list[Step]:
    """Batch after batch on what is in force, at the cost of what they change."""
    steps: list[Step] = []
    first = sum([len(feed.accepted.parts or (feed.accepted,)) for feed in feeds[:index]])
    for batch in batches:
        layers = list(composition.layers)
        fresh = feeds[index].layers(batch.document, first)
        layers[first : first + len(fresh)] = fresh
        composition, events = composition.evolved(layers, first + batch.part, batch.events)
        steps.append(Step(batch.revision, False, composition, events))
    return steps


def revision_of(item: Item, otherwise: Revision = 0) -> Revision:
    """The revision of `item`; `otherwise` where a source handed on what is no item."""
    if isinstance(item, Reset):
        return item.document.revision
    return getattr(item, "revision", otherwise)
