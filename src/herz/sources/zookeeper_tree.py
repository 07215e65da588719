"""A subtree of ZooKeeper at one moment, and what two of them tell: what happened, and whether time went back.

ZooKeeper keeps no history, but its counters say a lot: `version` counts the changes of a znode's data, `cversion` the
children created and deleted, `czxid`, `mzxid` and `pzxid` are the transactions of the creation, the last change and the
last change of the children. Data are compared by them, never by `version` alone, which starts again at 0 when a
znode is deleted and created anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from immutables import Map


class Value(NamedTuple):
    """What a znode holds, since transaction `mzxid`."""

    data: bytes
    czxid: int
    mzxid: int
    version: int

    def __repr__(self) -> str:
        # Data may be secrets, so they never print.
        return f"Value({len(self.data)} bytes, czxid={self.czxid}, mzxid={self.mzxid}, version={self.version})"


class Family(NamedTuple):
    """The names of a znode's children, since transaction `pzxid`."""

    names: frozenset[str]
    czxid: int
    pzxid: int
    cversion: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A consistent cut: the whole subtree under `root` as it was when transaction `zxid` had been applied."""

    root: str
    zxid: int = 0
    values: Map[str, Value] = field(default_factory=Map)
    families: Map[str, Family] = field(default_factory=Map)

    @property
    def there(self) -> bool:
        """Whether the root exists."""
        return self.root in self.values

    def differing(self, other: Cut, among: Iterable[str] | None = None) -> set[str]:
        """The paths `among` those given, by default all, of which the znode is not the same in `other`."""
        if among is None:
            among = {*self.values, *self.families, *other.values, *other.families}
        return {
            path
            for path in among
            if self.values.get(path) != other.values.get(path) or self.families.get(path) != other.families.get(path)
        }


def parent(path: str) -> str:
    """The path above `path`."""
    return path.rpartition("/")[0] or "/"


def child(path: str, name: str) -> str:
    """The path of the child `name` of `path`."""
    return f"{path}/{name}" if path != "/" else f"/{name}"


def transactions(
    before: Cut, after: Cut, touched: Iterable[str], deleted: Mapping[str, int] | None = None
) -> list[tuple[int, set[str]]] | None:
    """Every transaction between two cuts, oldest first, with the paths of the znodes whose data it changed.

    None when they cannot all be told: a znode changed twice, or came and went, or two deletions whose order does not
    show. Values in between are gone then. `touched` are the paths that may differ; `deleted` has the mzxid
    with which a znode is known to have gone, since no counter shows what was done to it before.
    """
    found: dict[int, set[str]] = {}
    for path in touched:
        if not all(
            (
                _value_told(path, before.values.get(path), after.values.get(path), found),
                _family_told(path, before, after, deleted or {}, found),
            )
        ):
            return None
    return sorted(found.items())


def _value_told(path: str, old: Value | None, new: Value | None, found: dict[int, set[str]]) -> bool:
    if new is None:
        return True  # told by its parent
    if old is None:
        found.setdefault(new.czxid, set()).add(path)
        return new.version == 0
    if new.czxid != old.czxid:
        return False  # deleted and created anew: when it was deleted does not show
    if new.mzxid != old.mzxid:
        found.setdefault(new.mzxid, set()).add(path)
    return new.version - old.version == (new.mzxid != old.mzxid)


def _family_told(path: str, before: Cut, after: Cut, known: Mapping[str, int], found: dict[int, set[str]]) -> bool:
    old, new = before.families.get(path), after.families.get(path)
    if new is None:
        return True
    if old is None:
        return new.cversion == len(new.names)
    if old.czxid != new.czxid:
        return False
    created, deleted = new.names - old.names, old.names - new.names
    if new.cversion - old.cversion != len(created) + len(deleted):
        return False
    if not deleted:
        return True
    gone = child(path, next(iter(deleted)))
    as_held = known.get(gone) == before.values[gone].mzxid
    born = [after.values.get(child(path, name)) for name in created]
    before_it = all(value is not None and value.czxid < new.pzxid for value in born)
    lived_in = before.families.get(gone)
    if len(deleted) > 1 or not as_held or not before_it or (lived_in is not None and lived_in.names):
        return False
    found.setdefault(new.pzxid, set()).add(gone)
    return True


def contradiction(held: Cut, now: Cut, upto: int, among: Iterable[str] | None = None) -> str | None:
    """How `now` contradicts `held`, which is all there was up to transaction `upto`; None when it may follow from it.

    Whatever shows no transaction after `upto` must be as it was, and what does must have counted on from there. So a
    store that was put back to an older copy shows, also when it has run past `upto` since, unless all that we
    hold has been written anew as well. The disappearance of the root itself is not judged here.
    """
    if not now.there:
        return None
    for path in held.differing(now, among):
        reason = _value_contradicts(path, held, now, upto) or _family_contradicts(path, held, now, upto)
        if reason is not None:
            return reason
    return None


def _value_contradicts(path: str, held: Cut, now: Cut, upto: int) -> str | None:
    known, value = held.values.get(path), now.values.get(path)
    if value == known:
        return None
    if value is None:
        if any(_later(now, above, upto) for above in _above(path)):
            return None
        return f"{path} is gone, and nothing shows that it was deleted after transaction {upto:#x}"
    if value.mzxid <= upto:
        was = "not there" if known is None else f"at {known.mzxid:#x}"
        return f"{path} is at transaction {value.mzxid:#x}, and was {was} when {upto:#x} had been handed on"
    if known is not None and known.czxid == value.czxid and value.version <= known.version:
        return f"{path} has version {value.version} of transaction {value.mzxid:#x}, and was at {known.version} before"
    return None


def _family_contradicts(path: str, held: Cut, now: Cut, upto: int) -> str | None:
    known, family = held.families.get(path), now.families.get(path)
    if family is None or family == known:
        return None  # where it is gone, its value says so
    if family.pzxid <= upto:
        return f"the children of {path} are those of transaction {family.pzxid:#x}, and were other ones"
    if known is not None and known.czxid == family.czxid and family.cversion <= known.cversion:
        return f"the children of {path} have changed {family.cversion} times, and had {known.cversion} times before"
    return None


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = parent(path)
        yield path


def _later(now: Cut, path: str, upto: int) -> bool:
    family = now.families.get(path)
    return family is not None and family.pzxid > upto
