"""Comparison: whether two instances of one model mean the same, so that the one in use may stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from herz.model import meaning
from herz.model.meaning import Kind
from herz.model.tree import ABSENT, is_table

if TYPE_CHECKING:
    from herz.live.binding.schema import Field, Schema


def read(instance: Any, name: str) -> Any:
    """A field of an instance; `ABSENT` when it was deleted or never set."""
    return instance.get(name, ABSENT) if type(instance) is dict else getattr(instance, name, ABSENT)


def same(schema: Schema, old: Any, new: Any) -> bool:
    """Whether two instances of a model mean the same, field by field."""
    return old is new or (
        all(same_field(schema, field, old, new) for field in schema.fields) and _same_rest(schema, old, new)
    )


def same_field(schema: Schema, field: Field, old: Any, new: Any) -> bool:
    """Whether two instances of a model mean the same in `field`."""
    if not field.kept:
        return True
    return _alike(schema, read(old, field.name), read(new, field.name), field.kind, field.shape.schema)


def _same_rest(schema: Schema, old: Any, new: Any) -> bool:
    if schema.description.extra == "allow":
        return _alike(schema, read(old, "__pydantic_extra__"), read(new, "__pydantic_extra__"), None)
    if all(field.kept for field in schema.fields):
        return True
    # What was made of an InitVar shows in the other attributes only.
    names = {*getattr(schema.model, "__dataclass_fields__", ()), *getattr(old, "__dict__", ())}
    return all(_alike(schema, read(old, name), read(new, name), None) for name in names)


def _alike(schema: Schema, old: Any, new: Any, kind: Kind | None, declared: Any = None) -> bool:
    if old is new:
        return True
    model = schema.inspection.known(old.__class__)
    if model is not None:
        return new.__class__ is old.__class__ and same(model, old, new)
    if is_table(old) and is_table(new):
        if declared is not None and old.keys() == new.keys():  # a TypedDict
            return same(declared, old, new)
        return old.keys() == new.keys() and all(_alike(schema, old[name], new[name], kind) for name in old)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(_alike(schema, a, b, kind) for a, b in zip(old, new, strict=True))
    try:
        return meaning.same(old, new, kind)
    except Exception:  # a field's own type that cannot be compared counts as changed
        return False
