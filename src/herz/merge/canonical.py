"""Canonical JSON: the same bytes for everything that means the same, whoever wrote it; secrets marked.

`docs/fingerprint.md` defines it. What most tables hold is canonical as an encoder that sorts keys writes it:
`plain_json` tells, so that only the rest is rewritten, by `canonical`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

from herz.model.number import integral
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, is_table

TOGETHER: Final = 32
"""Entries up to which the names of a table are judged by one remembered answer."""

_MARK: Final = "\u0000"
"""What the names of our own objects begin with; a key that begins so gets another one."""
ESCAPED_MARK: Final = rb"\u0000"
"""The same in JSON: where it is, a plain encoding is not canonical after all."""
_SECRET: Final = {_MARK + "secret": True}

_SCALARS: Final = frozenset({str, int, bool, float, type(None)})
"""Types whose JSON is canonical as it is, but for some floats."""

_EXACT: Final = _SCALARS - {float}
_PLAIN: Final = _SCALARS | {list}

encode = msgspec.json.Encoder(order="sorted").encode


class Content(NamedTuple):
    """What a table holds, gone through once: its `tables`, the values in them (`below`), and the types of both."""

    entries: dict[str, Any]
    kinds: set[type]
    tables: list[dict[str, Any]]
    below: list[Any]
    kinds_below: set[type]


def content_of(entries: dict[str, Any]) -> Content:
    """What `entries` and the tables among them hold."""
    kinds = set(map(type, entries.values()))
    tables: list[dict[str, Any]] = []
    below: list[Any] = []
    if dict in kinds:
        tables = [value for value in entries.values() if type(value) is dict]
        for table in tables:
            below += table.values()
    return Content(entries, kinds, tables, below, set(map(type, below)))


def plain_json(content: Content, secret: SecretKeys) -> bool:
    """Whether the JSON of leaves and small tables is canonical as it is and holds no secret; False when unsure."""
    entries, kinds, tables, below, kinds_below = content
    kinds = kinds | kinds_below
    kinds.discard(dict)  # what is below of them is empty
    if not kinds <= _PLAIN:
        return False
    values = [*entries.values(), *below] if float in kinds or list in kinds else below
    if list in kinds:
        items = list(chain.from_iterable([value for value in values if type(value) is list]))
        values += items
        kinds.discard(list)
        kinds.update(map(type, items))
    if not kinds <= _SCALARS:
        return False
    if float in kinds and not _plain_floats([value for value in values if type(value) is float]):
        return False
    if len(entries) > TOGETHER:
        return not secret.among(chain(entries, *tables) if tables else entries)
    return not _any_secret(secret, frozenset(entries).union(*tables))


def _plain_floats(floats: list[float]) -> bool:
    """Integral, infinite and no numbers have a form of their own. Where the sum is finite, so is every one of them."""
    return isfinite(sum(floats)) and not any(map(float.is_integer, floats))


@lru_cache(maxsize=1024)
def _any_secret(secret: SecretKeys, names: frozenset[str]) -> bool:
    """`secret.among(names)`, remembered: tables of a configuration repeat their names."""
    return secret.among(names)


def plain_at(name: str, value: Any, before: Any, secret: SecretKeys) -> bool:
    """Whether `{name: value}` is plain, where `before` was there and plain; `ABSENT` where nothing was."""
    if type(value) in _EXACT and before is not ABSENT:
        return True  # the name is as plain as it was
    if type(value) is dict and type(before) is dict and value.keys() == before.keys():
        fresh = [inner for at, inner in value.items() if inner is not before[at]]
        if _EXACT.issuperset(map(type, fresh)):
            return True
    return plain_json(content_of({name: value}), secret)


def canonical(value: Any, secret: SecretKeys, *, hidden: bool, sheltered: bool) -> Any:
    """`value` in the form whose JSON is the same for everything that is exactly the same, secrets marked.

    `hidden` is whether its name is that of a secret, `sheltered` whether everything below is secret.
    """
    if is_table(value):
        return {
            _MARK + name if name.startswith(_MARK) else name: canonical(
                inner,
                secret,
                hidden=sheltered or secret.names(name),
                sheltered=sheltered or secret.shelters(name),
            )
            for name, inner in value.items()
        }
    if hidden and not _harmless(value):
        return _SECRET
    if isinstance(value, float):
        if value - value != 0:
            return {_MARK + "number": repr(float(value))}
        whole = integral(value)
        return float(value) if whole is None else whole
    if isinstance(value, (list, tuple)):
        return [canonical(inner, secret, hidden=False, sheltered=sheltered) for inner in value]
    return value


def _harmless(value: Any) -> bool:
    """Whether a value under a secret key gives nothing away: null, a boolean, a reference."""
    return value is None or isinstance(value, bool) or (type(value) is str and "${" in value)
