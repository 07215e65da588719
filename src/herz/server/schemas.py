"""JSON Schemas: what a namespace's configuration must be like, kept beside its draft.

A schema comes from a user and is not trusted: references to files or to other servers are not followed, and regular
expressions run in time that grows with the text only.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, TypeAlias

import jsonschema_rs
import msgspec

from herz.errors import ConfigurationError, StoreCorrupt, UsageError
from herz.model.secret import MASK
from herz.release.content import CHUNK_BYTES
from herz.server.audit import Audit, By
from herz.server.masking import check_unmasked_values
from herz.server.problems import not_found
from herz.server.settings import ServerSettings
from herz.store.base import Compare, Delete, Put, Store, Txn
from herz.store.plane import place, schema_key

Schema: TypeAlias = dict[str, Any]
_DEEPEST: Final = 64
_ATTEMPTS: Final = 50


class Schemas:
    """The schemas in a store."""

    def __init__(self, store: Store, audit: Audit, settings: ServerSettings) -> None:
        self._store, self._audit, self._settings = store, audit, settings

    @property
    def keys(self) -> int:
        """How many keys a namespace may have."""
        return self._settings.keys

    async def get(self, app: str, namespace: str) -> Schema | None:
        """The schema, None where there is none."""
        entry = await self._store.get(schema_key(app, namespace))
        if entry is None:
            return None
        try:
            found = msgspec.json.decode(entry.value, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise StoreCorrupt(
                "a schema cannot be read", where=f"{entry.key}@{entry.mod_revision}", remedy="write it anew"
            ) from error
        return found

    async def put(self, app: str, namespace: str, schema: Schema, *, by: By) -> None:
        """Validate with `schema` from now on. `ConfigurationError` when it is none, a `Problem` 422 when masked."""
        check_unmasked_values(schema)
        validator(schema)
        data = msgspec.json.encode(schema)
        if len(data) > CHUNK_BYTES:
            raise UsageError(f"a schema of {len(data):,} bytes, at most {CHUNK_BYTES:,} are taken")
        await self._audit.commit(
            Txn(then=(Put(schema_key(app, namespace), data),)),
            by,
            "schema.written",
            place(app, namespace),
            details={"digest": f"sha256:{sha256(data).hexdigest()}"},
        )

    async def delete(self, app: str, namespace: str, *, by: By) -> None:
        """Validate with no schema any more; a `Problem` 404 where there is none."""
        key = schema_key(app, namespace)
        result = await self._audit.commit(
            Txn((Compare(key, "create_revision", "!=", 0),), (Delete(key),)),
            by,
            "schema.deleted",
            place(app, namespace),
        )
        if not result.succeeded:
            raise not_found(f"{place(app, namespace)} has no schema")


def validator(schema: Schema, *, masked: bool = False) -> jsonschema_rs.Validator:
    """What tells whether a tree is as `schema` says; with `masked` its messages quote no value.

    `ConfigurationError` when it is no schema, or refers to something outside of it.
    """
    if _depth(schema) > _DEEPEST:
        raise ConfigurationError(f"the schema is nested deeper than {_DEEPEST}", remedy="name parts of it in $defs")
    try:
        return jsonschema_rs.validator_for(
            schema,
            mask=MASK if masked else None,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except jsonschema_rs.ValidationError as error:
        place_in = "/".join(map(str, error.instance_path))
        raise ConfigurationError(
            f"not a JSON Schema: {error.message[:500]}",
            where=place_in or None,
            remedy="mend it; references to other documents are not followed",
        ) from error
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise ConfigurationError(f"not a JSON Schema: {str(error)[:500]}", remedy="mend it") from error


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        one, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > _DEEPEST:
            return depth
        if isinstance(one, dict):
            stack += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            stack += [(inner, depth + 1) for inner in one]
    return deepest
