"""Fingerprints: a sha256 of what a configuration means, whose update costs what the change costs.

The digest of a table is defined by what it holds, not by how it was written or in which order it grew
(`docs/fingerprint.md` states it for other implementations and gives test vectors):

* Up to `BUCKET` entries: `sha256("b" + J + S)`. J is the JSON object of the leaves and the small sub-tables (up to
  `BUCKET` entries, all leaves), keys sorted by code point, no white space, numbers canonical. S is empty when there are
  no larger sub-tables, otherwise the JSON array of their names in order, then their 32-byte digests in that order.
* More: `sha256("t" + D0 … D15)`, where Di digests the entries whose key's CRC-32 has the hex digit i at
  this depth (the most significant first), 32 zero bytes where there are none. After eight digits a bucket
  holds whatever is left.

So a digest covers up to `BUCKET` small tables at once: one call of the encoder and one of the hash for them all.

Numbers: an integral number is written as an integer, however it was written; any other with the shortest
digits that give back the double, below 1e-5 with an exponent. A literal secret is covered only by the fact
that it is there, so that a fingerprint cannot be used to guess it. Text that refers to a secret (`${…}`) counts
as written.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, TypeAlias
from zlib import crc32

from immutables import Map

from herz.merge.canonical import ESCAPED_MARK, Content, canonical, content_of, encode, plain_at, plain_json
from herz.model.key import Path
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, Tree, is_table, lookup

BUCKET: Final = 32
"""Entries up to which a table is digested whole."""
FAN_OUT: Final = 16
DEEPEST: Final = 8
_NOTHING: Final = bytes(32)
_TABLES: Final = frozenset({dict, Map})


class Bucket:
    """The digest of a few entries: leaves and small tables as they are, larger tables (`large`, in order) as nodes.

    `covered` is the canonical JSON of the leaves and small tables, kept so that a change encodes one entry and not its
    neighbours; `plain` tells that it is what they are encoded as anyway, and holds no secret.
    """

    __slots__ = ("covered", "digest", "entries", "large", "plain")

    def __init__(self, entries: dict[str, Any], covered: bytes, large: list[str], plain: bool) -> None:
        self.entries = entries
        self.covered = covered
        self.large = large
        self.plain = plain
        if large:
            covered += encode(large) + b"".join([entries[name].digest for name in large])
        self.digest: bytes = sha256(b"b" + covered).digest()


class Branch:
    """The digest of many entries, `count` in all, by the hash of their keys; `digests` are those of its children."""

    __slots__ = ("children", "count", "digest", "digests")

    def __init__(self, children: list[Node | None], count: int, digests: bytes | None = None) -> None:
        self.children = children
        self.count = count
        self.digests = b"".join(map(_digest, children)) if digests is None else digests
        self.digest: bytes = sha256(b"t" + self.digests).digest()

    def with_child(self, digit: int, child: Node | None, count: int) -> Branch:
        """The same with another child, so that it holds `count` entries."""
        children, digests, start = [*self.children], self.digests, 32 * digit
        children[digit] = child
        return Branch(children, count, digests[:start] + _digest(child) + digests[start + 32 :])


Node: TypeAlias = "Bucket | Branch"
_NODES: Final = frozenset({Bucket, Branch})


_NO_NAMES: Final[list[str]] = []


def _bucket(entries: dict[str, Any], secret: SecretKeys, sheltered: bool, plain: bool | None = None) -> Bucket:
    """The bucket of any `entries`; whether they are plain is found out unless it is given."""
    content, large = entries, _NO_NAMES
    if not _NODES.isdisjoint(map(type, entries.values())):
        content = {name: value for name, value in entries.items() if type(value) not in _NODES}
        large = sorted(entries.keys() - content.keys())
    if plain is None:
        plain = not sheltered and plain_json(content_of(content), secret)
    return Bucket(entries, _covered(content, secret, sheltered, plain), large, plain)


def _covered(content: dict[str, Any], secret: SecretKeys, sheltered: bool, plain: bool) -> bytes:
    """The canonical JSON of leaves and small tables."""
    if plain:
        covered = encode(content)
        if not (b"\\" in covered and ESCAPED_MARK in covered):
            return covered
    return encode(canonical(content, secret, hidden=False, sheltered=sheltered))


def _size(node: Node | None) -> int:
    if node is None:
        return 0
    return node.count if type(node) is Branch else len(node.entries)  # type: ignore[union-attr]


def _digest(node: Node | None) -> bytes:
    return _NOTHING if node is None else node.digest


class Fingerprint:
    """The digests of one tree; `update` gives those of the next, sharing what did not change."""

    __slots__ = ("_secret", "root")

    def __init__(self, root: Node, secret: SecretKeys) -> None:
        self.root = root
        self._secret = secret

    @classmethod
    def of(cls, tree: Tree, secret: SecretKeys) -> Fingerprint:
        """The digests of `tree`, from scratch."""
        return cls(_table(tree, secret, False), secret)

    def __str__(self) -> str:
        return f"sha256:{self.root.digest.hex()}"

    def update(self, tree: Tree, paths: Iterable[Path]) -> Fingerprint:
        """The digests of `tree`, which differs from the one before at `paths` and nowhere else."""
        root = self.root
        for path in paths:
            root = _updated(root, tree, path, 0, self._secret, False)
        return self if root is self.root else Fingerprint(root, self._secret)

    def under(self, path: Path) -> str | None:
        """The fingerprint of the table at `path` by itself; None when there is no table there."""
        node: Any = self.root
        for at, segment in enumerate(path, 1):
            node = _entry(node, segment, crc32(segment.encode("utf-8", "surrogatepass")))
            if type(node) is dict and node and at == len(path):
                node = _bucket(node, self._secret, any(map(self._secret.shelters, path)))
            if type(node) not in _NODES:
                return None
        return f"sha256:{node.digest.hex()}"


def _table(table: Tree, secret: SecretKeys, sheltered: bool) -> Node:
    entries = table if type(table) is dict else dict(table)
    content = content_of(entries)
    if Map not in content.kinds and _all_small(content):
        plain = not sheltered and plain_json(content, secret)  # together, or else each bucket finds out for itself
        return _node(entries, 0, secret, sheltered, plain if plain or len(entries) <= BUCKET else None)
    entries = {
        name: _inner(value, secret, sheltered or secret.shelters(name)) if is_table(value) and value else value
        for name, value in entries.items()
    }
    return _node(entries, 0, secret, sheltered)


def _inner(table: Tree, secret: SecretKeys, sheltered: bool) -> Node | dict[str, Any]:
    """A table with entries as the entry of another: itself where it is small, its node otherwise."""
    if _small(table):
        return table if type(table) is dict else dict(table)
    return _table(table, secret, sheltered)


def _small(table: Tree) -> bool:
    """Whether the digest of the table above covers this one: up to `BUCKET` entries, none a table with entries."""
    if len(table) > BUCKET:
        return False
    for value in table.values():  # noqa: SIM110  a generator takes three times as long
        if type(value) in _TABLES and value:
            return False
    return True


def _all_small(content: Content) -> bool:
    """Whether all tables in a table are small, judged together; False when unsure."""
    return max(map(len, content.tables), default=0) <= BUCKET and _TABLES.isdisjoint(content.kinds_below)


def _node(entries: dict[str, Any], depth: int, secret: SecretKeys, sheltered: bool, plain: bool | None = None) -> Node:
    """The node at `depth` of `entries`; they are leaves and small tables where `plain` says so, and nodes otherwise."""
    if len(entries) <= BUCKET or depth == DEEPEST:
        if plain:
            return Bucket(entries, _covered(entries, secret, sheltered, True), _NO_NAMES, True)
        return _bucket(entries, secret, sheltered, plain)
    levels = 1  # as many at once as will be needed, so that each key is hashed and moved once
    while len(entries) > BUCKET << 4 * levels and depth + levels < DEEPEST:
        levels += 1
    parts: list[dict[str, Any]] = [{} for _ in range(FAN_OUT**levels)]
    shift, mask = 32 - 4 * (depth + levels), FAN_OUT**levels - 1
    for code, (name, value) in zip(_codes(entries), entries.items(), strict=True):
        parts[code >> shift & mask][name] = value
    return _gathered(parts, depth, secret, sheltered, plain)


def _codes(names: Iterable[str]) -> Iterable[int]:
    """The CRC-32 of each name, the whole of them without a call of ours for each."""
    try:
        return list(map(crc32, map(str.encode, names)))
    except UnicodeEncodeError:
        return [crc32(name.encode("utf-8", "surrogatepass")) for name in names]


def _gathered(parts: list[dict[str, Any]], depth: int, secret: SecretKeys, sheltered: bool, plain: bool | None) -> Node:
    """The node at `depth` over `parts`, which are some levels below it."""
    count = sum(map(len, parts))
    if count <= BUCKET:
        entries = {name: value for part in parts for name, value in part.items()}
        return _node(entries, depth, secret, sheltered, plain)
    children: list[Node | None]
    if len(parts) == FAN_OUT:
        children = [_node(part, depth + 1, secret, sheltered, plain) if part else None for part in parts]
    else:
        step = len(parts) // FAN_OUT
        below = [parts[at : at + step] for at in range(0, len(parts), step)]
        children = [_gathered(part, depth + 1, secret, sheltered, plain) if any(part) else None for part in below]
    return Branch(children, count)


def _updated(node: Node, tree: Any, path: Path, at: int, secret: SecretKeys, sheltered: bool) -> Node:
    """`node`, which digests the table at `path[:at]`, after `path` changed; `tree` is that table now."""
    segment = path[at]
    code = crc32(segment.encode("utf-8", "surrogatepass"))
    trail: list[tuple[Branch, int]] = []
    bucket: Node | None = node
    shift = 28
    while type(bucket) is Branch:
        digit = code >> shift & 15
        trail.append((bucket, digit))
        bucket = bucket.children[digit]
        shift -= 4
    before: Any = ABSENT if bucket is None else bucket.entries.get(segment, ABSENT)  # type: ignore[union-attr]
    value = tree.get(segment, ABSENT)
    if is_table(value) and value:
        if type(before) in _NODES and at + 1 < len(path) and not _small(value):
            value = _updated(before, value, path, at + 1, secret, sheltered or secret.shelters(segment))
        else:
            value = _inner(value, secret, sheltered or secret.shelters(segment))
    if before is ABSENT or value is ABSENT:
        return _with(node, segment, code, value, 28, secret, sheltered)
    changed: Node = _replaced(bucket, segment, before, value, secret, sheltered)  # type: ignore[arg-type]
    for branch, digit in reversed(trail):  # every one of them keeps its shape
        changed = branch.with_child(digit, changed, branch.count)
    return changed


def _entry(node: Node, segment: str, code: int) -> Any:
    shift = 28
    while type(node) is Branch:
        child = node.children[code >> shift & 15]
        if child is None:
            return ABSENT
        node, shift = child, shift - 4
    return node.entries.get(segment, ABSENT)  # type: ignore[union-attr]


def _replaced(bucket: Bucket, name: str, before: Any, value: Any, secret: SecretKeys, sheltered: bool) -> Bucket:
    """`bucket` with `value` in place of `before`, both there."""
    entries = {**bucket.entries, name: value}
    was_node, is_node = type(before) in _NODES, type(value) in _NODES
    if was_node and is_node:
        return Bucket(entries, bucket.covered, bucket.large, bucket.plain)
    if was_node or is_node:  # whether the name of a node is that of a secret has not been judged
        plain = bucket.plain and (is_node or plain_at(name, value, ABSENT, secret))
        return _bucket(entries, secret, sheltered, plain or None)
    plain = bucket.plain and plain_at(name, value, before, secret)
    old = _covered({name: before}, secret, sheltered, bucket.plain)[1:-1]
    around = bucket.covered.split(old, 2)
    if len(around) != 2 or old in old[1:] + around[1][: len(old) - 1]:  # tables below may hold the same text
        return _bucket(entries, secret, sheltered, plain or None)
    new = _covered({name: value}, secret, sheltered, plain)[1:-1]
    return Bucket(entries, new.join(around), bucket.large, plain)


def _with(node: Node, name: str, code: int, value: Any, shift: int, secret: SecretKeys, sheltered: bool) -> Node:
    """`node` with one entry added, or removed (`ABSENT`), in the one shape its content has.

    `code` is the CRC-32 of `name`, `shift` the place in it of the digit that counts at `node`'s depth.
    """
    if isinstance(node, Bucket):
        return _bucket_with(node, name, value, (28 - shift) // 4, secret, sheltered)
    digit = code >> shift & 15
    child = node.children[digit]
    if child is None:
        if value is ABSENT:
            return node
        changed: Node | None = _bucket({name: value}, secret, sheltered)
    else:
        changed = _with(child, name, code, value, shift - 4, secret, sheltered)
        if not _size(changed):
            changed = None
    count = node.count - _size(child) + _size(changed)
    if count > BUCKET:
        return node.with_child(digit, changed, count)
    children = [*node.children]
    children[digit] = changed
    return _bucket({name: entry for below in children for name, entry in _entries(below).items()}, secret, sheltered)


def _bucket_with(bucket: Bucket, name: str, value: Any, depth: int, secret: SecretKeys, sheltered: bool) -> Node:
    if value is ABSENT:
        entries = {known: entry for known, entry in bucket.entries.items() if known != name}
        return _bucket(entries, secret, sheltered, bucket.plain or None)
    entries = {**bucket.entries, name: value}
    if len(entries) > BUCKET:
        return _node(entries, depth, secret, sheltered)
    plain = bucket.plain and (type(value) in _NODES or plain_at(name, value, ABSENT, secret))
    return _bucket(entries, secret, sheltered, plain or None)


def _entries(node: Node | None) -> dict[str, Any]:
    if node is None:
        return {}
    if isinstance(node, Bucket):
        return node.entries
    return {name: entry for child in node.children for name, entry in _entries(child).items()}


def fingerprint_of(tree: Tree, secret: SecretKeys) -> str:
    """`sha256:<hex>` of `tree` (the whole of it)."""
    return str(Fingerprint.of(tree, secret))


def under(tree: Tree, path: Path, secret: SecretKeys) -> str | None:
    """The fingerprint of one sub-table; None when there is none at `path`."""
    table = lookup(tree, path)
    return fingerprint_of(table, secret) if is_table(table) else None
