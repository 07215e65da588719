"""Fingerprints: a sha256 of what a configuration means, whose update costs what the change costs.

The digest of a table is defined by what it holds, not by how it was written or in which order it grew
(`docs/fingerprint.md` states it for other implementations and gives test vectors):

* Up to `BUCKET` entries: `sha256("b" + J + S)`. J is the JSON object of the leaves, keys sorted by code
  point, no white space, numbers canonical. S is, for each sub-table in key order, the JSON string of its
  name and its 32-byte digest.
* More: `sha256("t" + D0 … D15)`, where Di digests the entries whose key's CRC-32 has the hex digit i at
  this depth (the most significant first), 32 zero bytes where there are none. After eight digits a bucket
  holds whatever is left.

Numbers: an integral number is written as an integer, however it was written; any other with the shortest
digits that give back the double, below 1e-5 with an exponent. A literal secret is covered only by the fact
that it is there, so that a fingerprint cannot be used to guess it. Text that refers to a secret (`${…}`) counts
as written.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec
from immutables import Map

from herz.model.key import Path
from herz.model.number import integral
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, Tree, is_table, lookup

BUCKET: Final = 32
"""Entries up to which a table is digested whole."""
FAN_OUT: Final = 16
DEEPEST: Final = 8
_NOTHING: Final = bytes(32)
_SECRET: Final = {"\u0000secret": True}

_PLAIN: Final = frozenset({str, int, bool})
"""Types whose JSON is canonical as it is."""
_NUMERIC: Final = frozenset({str, int, bool, float})
_TABLES: Final = frozenset({dict, Map})

_encode = msgspec.json.Encoder(order="sorted").encode


class Bucket:
    """The digest of a few entries; `entries` holds leaves as they are and sub-tables as their nodes.

    `guarded` tells whether a leaf's name may be that of a secret, which is found out unless it is given.
    """

    __slots__ = ("digest", "entries", "guarded")

    def __init__(
        self, entries: dict[str, Any], secret: SecretKeys, sheltered: bool, guarded: bool | None = None
    ) -> None:
        self.entries = entries
        kinds = set(map(type, entries.values()))
        leaves, tables = entries, b""
        if not kinds.isdisjoint(_NODES):
            if kinds <= _NODES:
                names, leaves = sorted(entries), {}
            else:
                names = sorted([name for name, value in entries.items() if type(value) in _NODES])
                leaves = {name: value for name, value in entries.items() if type(value) not in _NODES}
            tables = b"".join([_encode(name) + entries[name].digest for name in names])
            kinds -= _NODES
        self.guarded: bool = sheltered or (_any_secret(secret, tuple(leaves)) if guarded is None else guarded)
        if self.guarded:
            leaves = {
                name: _SECRET if (sheltered or secret.names(name)) and not _harmless(value) else value
                for name, value in leaves.items()
            }
        if not kinds <= _PLAIN and not (kinds <= _NUMERIC and _plain(leaves.values())):
            leaves = {name: canonical(value) for name, value in leaves.items()}
        self.digest: bytes = sha256(b"b" + _encode(leaves) + tables).digest()


class Branch:
    """The digest of many entries, `count` in all, by the hash of their keys; `digests` are those of its children."""

    __slots__ = ("children", "count", "digest", "digests")

    def __init__(self, children: list[Node | None], count: int, digests: bytes | None = None) -> None:
        self.children = children
        self.count = count
        self.digests = b"".join(map(_digest, children)) if digests is None else digests
        self.digest: bytes = sha256(b"t" + self.digests).digest()


Node: TypeAlias = "Bucket | Branch"
_NODES: Final = frozenset({Bucket, Branch})


def _size(node: Node | None) -> int:
    if node is None:
        return 0
    return node.count if type(node) is Branch else len(node.entries)  # type: ignore[union-attr]


def _digest(node: Node | None) -> bytes:
    return _NOTHING if node is None else node.digest


@lru_cache(maxsize=1024)
def _any_secret(secret: SecretKeys, names: tuple[str, ...]) -> bool:
    """`secret.among(names)`, remembered: tables of a configuration repeat their names."""
    return secret.among(names)


def _harmless(value: Any) -> bool:
    """Whether a value under a secret key gives nothing away: null, a boolean, a reference."""
    return value is None or isinstance(value, bool) or (type(value) is str and "${" in value)


def _plain(values: Iterable[Any]) -> bool:
    """Whether no double among `values` is integral, infinite or no number: then their JSON is canonical."""
    return all([value % 1 > 0 for value in values if type(value) is float])  # noqa: C419 - a list is faster here  # noqa: C419  half the time of a generator


def canonical(value: Any) -> Any:
    """`value` in the form whose JSON is the same for everything that is exactly the same."""
    if isinstance(value, float):
        if value - value != 0:
            return {"\u0000number": repr(float(value))}
        whole = integral(value)
        return float(value) if whole is None else whole
    if isinstance(value, (list, tuple)):
        return [canonical(inner) for inner in value]
    if is_table(value):
        return {name: canonical(inner) for name, inner in value.items()}
    return value


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
        for segment in path:
            node = _entry(node, segment, crc32(segment.encode("utf-8", "surrogatepass")))
            if type(node) not in _NODES:
                return None
        return f"sha256:{node.digest.hex()}"


def _table(table: Tree, secret: SecretKeys, sheltered: bool) -> Node:
    entries = table if type(table) is dict else dict(table)
    if not _TABLES.isdisjoint(map(type, entries.values())):
        entries = {
            name: _table(value, secret, sheltered or secret.shelters(name)) if is_table(value) and value else value
            for name, value in entries.items()
        }
    return _node(entries, 0, secret, sheltered)


def _node(entries: dict[str, Any], depth: int, secret: SecretKeys, sheltered: bool) -> Node:
    if len(entries) <= BUCKET or depth == DEEPEST:
        return Bucket(entries, secret, sheltered)
    levels = 1  # as many at once as will be needed, so that each key is hashed and moved once
    while len(entries) > BUCKET << 4 * levels and depth + levels < DEEPEST:
        levels += 1
    parts: list[dict[str, Any]] = [{} for _ in range(FAN_OUT**levels)]
    shift, mask = 32 - 4 * (depth + levels), FAN_OUT**levels - 1
    for name, value in entries.items():
        parts[crc32(name.encode("utf-8", "surrogatepass")) >> shift & mask][name] = value
    return _gathered(parts, depth, secret, sheltered)


def _gathered(parts: list[dict[str, Any]], depth: int, secret: SecretKeys, sheltered: bool) -> Node:
    """The node at `depth` over `parts`, which are some levels below it."""
    count = sum(map(len, parts))
    if len(parts) == 1 or count <= BUCKET:
        entries = parts[0] if len(parts) == 1 else {name: value for part in parts for name, value in part.items()}
        return _node(entries, depth, secret, sheltered)
    step = len(parts) // FAN_OUT
    below = [parts[at : at + step] for at in range(0, len(parts), step)]
    return Branch([_gathered(part, depth + 1, secret, sheltered) if any(part) else None for part in below], count)


def _updated(node: Node, tree: Any, path: Path, at: int, secret: SecretKeys, sheltered: bool) -> Node:
    """`node`, which digests the table at `path[:at]`, after `path` changed; `tree` is that table now."""
    segment = path[at]
    code = crc32(segment.encode("utf-8", "surrogatepass"))
    value = tree.get(segment, ABSENT)
    if is_table(value) and value:
        below = _entry(node, segment, code)
        inside = sheltered or secret.shelters(segment)
        if type(below) in _NODES and at + 1 < len(path):
            value = _updated(below, value, path, at + 1, secret, inside)
        else:
            value = _table(value, secret, inside)
    return _with(node, segment, code, value, 28, secret, sheltered)


def _entry(node: Node, segment: str, code: int) -> Any:
    shift = 28
    while type(node) is Branch:
        child = node.children[code >> shift & 15]
        if child is None:
            return ABSENT
        node, shift = child, shift - 4
    return node.entries.get(segment, ABSENT)  # type: ignore[union-attr]


def _with(node: Node, name: str, code: int, value: Any, shift: int, secret: SecretKeys, sheltered: bool) -> Node:
    """`node` with one entry changed, added, or removed (`ABSENT`), in the one shape its content has.

    `code` is the CRC-32 of `name`, `shift` the place in it of the digit that counts at `node`'s depth.
    """
    if isinstance(node, Bucket):
        if value is ABSENT:
            entries = {known: entry for known, entry in node.entries.items() if known != name}
        else:
            entries = {**node.entries, name: value}
            if (
                len(entries) == len(node.entries)
                and type(value) not in _NODES
                and type(node.entries[name]) not in _NODES
            ):
                return Bucket(entries, secret, sheltered, node.guarded)  # the leaves' names are the same
        return _node(entries, (28 - shift) // 4, secret, sheltered)
    digit = code >> shift & 15
    child = node.children[digit]
    if child is None:
        if value is ABSENT:
            return node
        changed: Node | None = Bucket({name: value}, secret, sheltered)
    else:
        changed = _with(child, name, code, value, shift - 4, secret, sheltered)
        if not _size(changed):
            changed = None
    children = [*node.children]
    children[digit] = changed
    count = node.count - _size(child) + _size(changed)
    if count > BUCKET:
        start = 32 * digit
        return Branch(children, count, node.digests[:start] + _digest(changed) + node.digests[start + 32 :])
    return Bucket({name: entry for below in children for name, entry in _entries(below).items()}, secret, sheltered)


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
