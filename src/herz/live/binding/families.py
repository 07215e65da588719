"""Families: what a pydantic model, a dataclass, an attrs class, a msgspec struct or a TypedDict says of its fields.

Each family is recognised by the attributes its decorator leaves, so that none is imported for a model of another.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, get_type_hints, is_typeddict

from herz.errors import UsageError
from herz.model.key import relaxed
from herz.model.tree import ABSENT

RAW: Final = object()
"""Stands for an annotation: the value goes to the model as it was written, for a function of its own to read."""


class Declared(NamedTuple):
    """One field as its model declares it.

    `argument` is its name in the constructor, `names` what configuration may call it. `accepts` is what the
    constructor takes where that is not `annotation`. `default` is `ABSENT` where a function makes it.
    """

    name: str
    argument: str
    names: tuple[str, ...]
    annotation: Any
    accepts: Any
    required: bool
    default: Any = ABSENT
    metadata: tuple[Any, ...] = ()
    kept: bool = True
    """Whether the instance keeps the value as an attribute; a dataclass's InitVar is gone after construction."""


class Description(NamedTuple):
    """One model: its fields, how an instance is made of a dict of them, and what it says of itself."""

    family: str
    fields: tuple[Declared, ...]
    create: Callable[[dict[str, Any]], Any]
    frozen: bool = False
    extra: str = "ignore"
    """What happens to unknown keys: `ignore` (a warning), `allow` (handed on), `forbid` (an error)."""
    tag: tuple[str, Any] | None = None
    validates: bool = False
    """Whether the family types and validates nested models itself, given dicts."""
    root: bool = False
    """Whether the model is one unnamed value: pydantic's RootModel."""
    fills: bool = False
    """Whether the model may fill required fields itself, before they are looked at."""


def is_model(kind: Any) -> bool:
    """Whether `kind` is a class of one of the families."""
    return isinstance(kind, type) and (
        hasattr(kind, "__pydantic_fields__")
        or dataclasses.is_dataclass(kind)
        or "__attrs_attrs__" in vars(kind)
        or hasattr(kind, "__struct_fields__")
        or is_typeddict(kind)
    )


def describe_model(kind: Any, localns: Mapping[str, Any] | None = None) -> Description:
    """What `kind` says of itself. `UsageError` when it is no model, or one of its annotations cannot be resolved.

    `localns` holds the names that annotations written as text use and that are not global in the model's module.
    """
    if not is_model(kind):
        raise UsageError(
            f"{kind!r} is not a model",
            remedy="use a pydantic model, a dataclass, an attrs class, a msgspec struct or a TypedDict",
        )
    if hasattr(kind, "__pydantic_fields__"):
        return _pydantic(kind, localns)
    if hasattr(kind, "__struct_fields__"):
        return _msgspec(kind, localns)
    if "__attrs_attrs__" in vars(kind):
        return _attrs(kind, localns)
    if is_typeddict(kind):
        return _typed_dict(kind, localns)
    return _dataclass(kind, localns)


def hints(kind: Any, localns: Mapping[str, Any] | None) -> dict[str, Any]:
    """The resolved annotations of `kind`, markers included."""
    try:
        return get_type_hints(kind, localns=dict(localns) if localns else None, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise UsageError(
            f"an annotation of {kind.__qualname__} cannot be resolved: {error}",
            remedy="define what it names at module level, above the model",
        ) from error


# --- dataclasses ---------------------------------------------------------------------------------


def _dataclass(kind: Any, localns: Mapping[str, Any] | None) -> Description:
    resolved = hints(kind, localns)
    fields: list[Declared] = []
    # dataclasses.fields() leaves out InitVars, which are arguments like any other.
    for field in kind.__dataclass_fields__.values():
        pseudo = field._field_type.name
        if not field.init or pseudo == "_FIELD_CLASSVAR":
            continue
        annotation = resolved.get(field.name, Any)
        annotation = annotation.type if isinstance(annotation, dataclasses.InitVar) else annotation
        made = field.default_factory is not dataclasses.MISSING
        fields.append(
            Declared(
                field.name,
                field.name,
                (field.name,),
                annotation,
                annotation,
                required=field.default is dataclasses.MISSING and not made,
                default=ABSENT if field.default is dataclasses.MISSING else field.default,
                metadata=(dict(field.metadata),),
                kept=pseudo != "_FIELD_INITVAR",
            )
        )
    return Description("dataclass", tuple(fields), _called(kind), frozen=kind.__dataclass_params__.frozen)


def _called(kind: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda given: kind(**given)


# --- attrs ---------------------------------------------------------------------------------------


def _attrs(kind: Any, localns: Mapping[str, Any] | None) -> Description:
    resolved = hints(kind, localns)
    fields: list[Declared] = []
    for field in kind.__attrs_attrs__:
        if not field.init:
            continue
        annotation = resolved.get(field.name, Any if field.type is None else field.type)
        argument = field.alias or field.name
        nothing = getattr(field.default, "name", None) == "NOTHING"
        fields.append(
            Declared(
                field.name,
                argument,
                tuple(dict.fromkeys((argument, field.name))),
                annotation,
                _converted(field.converter, annotation),
                required=nothing,
                default=ABSENT if nothing or hasattr(field.default, "takes_self") else field.default,
                metadata=(dict(field.metadata),),
            )
        )
    properties = getattr(kind, "__attrs_props__", None)
    return Description("attrs", tuple(fields), _called(kind), frozen=bool(getattr(properties, "is_frozen", False)))


def _converted(converter: Any, annotation: Any) -> Any:
    """What an attrs converter is given: its parameter's type if it says one, the value as written if it does not.

    A class as converter (`converter=tuple`) is given the field's type, for it takes its own instances as well.
    """
    if converter is None or isinstance(converter, type):
        return annotation
    function = getattr(converter, "converter", converter)
    try:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    except (ValueError, TypeError, NameError):
        return RAW
    if not parameters or parameters[0].annotation is inspect.Parameter.empty:
        return RAW
    return parameters[0].annotation


# --- msgspec -------------------------------------------------------------------------------------


def _msgspec(kind: Any, localns: Mapping[str, Any] | None) -> Description:
    import msgspec  # 5 ms, and imported by whoever has such a model

    resolved = hints(kind, localns)
    fields: list[Declared] = []
    written = kind.__struct_defaults__
    defaults: list[Any] = [msgspec.NODEFAULT] * (len(kind.__struct_fields__) - len(written)) + list(written)
    for name, encoded, default in zip(kind.__struct_fields__, kind.__struct_encode_fields__, defaults, strict=True):
        plain = default is not msgspec.NODEFAULT and type(default).__name__ != "Factory"
        fields.append(
            Declared(
                name,
                name,
                tuple(dict.fromkeys((encoded, name))),
                resolved[name],
                resolved[name],
                required=default is msgspec.NODEFAULT,
                default=default if plain else ABSENT,
            )
        )
    config = kind.__struct_config__
    return Description(
        "msgspec",
        tuple(fields),
        _called(kind),
        frozen=config.frozen,
        extra="forbid" if config.forbid_unknown_fields else "ignore",
        tag=None if config.tag is None else (config.tag_field, config.tag),
    )


# --- pydantic ------------------------------------------------------------------------------------

_READS_AS_WRITTEN: Final = frozenset({"before", "plain", "wrap"})


def _pydantic(kind: Any, localns: Mapping[str, Any] | None) -> Description:
    is_class = dataclasses.is_dataclass(kind)
    if not getattr(kind, "__pydantic_complete__", True):
        _completed(kind, is_class, localns)
    config: Mapping[str, Any] = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    decorators = kind.__pydantic_decorators__
    as_written = {
        name
        for validator in (*decorators.field_validators.values(), *decorators.validators.values())
        if validator.info.mode in _READS_AS_WRITTEN
        for name in validator.info.fields
    }
    fields: list[Declared] = []
    for name, field in kind.__pydantic_fields__.items():
        if field.init is False:
            continue
        written = name in as_written or "*" in as_written or any(map(reads_as_written, field.metadata))
        extra = field.json_schema_extra
        fields.append(
            Declared(
                name,
                name,
                _pydantic_names(name, field),
                field.annotation,
                RAW if written else field.annotation,
                required=field.is_required(),
                default=ABSENT if field.default_factory is not None or field.is_required() else field.default,
                metadata=(*field.metadata, *([extra] if isinstance(extra, dict) else [])),
            )
        )
    frozen = bool(config.get("frozen")) or (is_class and kind.__dataclass_params__.frozen)
    validator = kind.__pydantic_validator__

    def create(given: dict[str, Any]) -> Any:
        return validator.validate_python(given, by_alias=False, by_name=True)

    root = bool(getattr(kind, "__pydantic_root_model__", False))
    return Description(
        "pydantic",
        tuple(fields),
        validator.validate_python if root else create,
        frozen=frozen,
        extra=config.get("extra") or "ignore",
        validates=True,
        root=root,
        fills=any(found.info.mode in _READS_AS_WRITTEN for found in decorators.model_validators.values())
        or bool(decorators.root_validators),
    )


def _completed(kind: Any, is_class: bool, localns: Mapping[str, Any] | None) -> None:
    from pydantic.errors import PydanticUndefinedAnnotation

    try:
        if is_class:
            from pydantic.dataclasses import rebuild_dataclass

            rebuild_dataclass(kind, _types_namespace=localns)
        else:
            kind.model_rebuild(_types_namespace=localns)
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise UsageError(
            f"an annotation of {kind.__qualname__} cannot be resolved: {error}",
            remedy="define what it names at module level, above the model",
        ) from error


def reads_as_written(marker: Any) -> bool:
    """Whether `marker`, from an `Annotated`, is one of pydantic's validators that are given the value as written."""
    return type(marker).__name__ in ("BeforeValidator", "PlainValidator", "WrapValidator")


def _pydantic_names(name: str, field: Any) -> tuple[str, ...]:
    """Every name a pydantic field may have: its own, its alias, its validation aliases (paths into tables are not)."""
    names: list[str] = []
    for alias in (field.validation_alias, field.alias):
        for one in getattr(alias, "choices", (alias,)):
            if isinstance(one, str):
                names.append(one)
    return tuple(dict.fromkeys((*names, name)))


# --- typed dicts ---------------------------------------------------------------------------------


def _typed_dict(kind: Any, localns: Mapping[str, Any] | None) -> Description:
    fields = tuple(
        Declared(name, name, (name,), annotation, annotation, required=name in kind.__required_keys__)
        for name, annotation in hints(kind, localns).items()
    )
    return Description("TypedDict", fields, dict, frozen=True)


def clashing(fields: tuple[Declared, ...]) -> tuple[str, str] | None:
    """Two fields that configuration could not tell apart, if there are."""
    seen: dict[str, str] = {}
    for field in fields:
        for name in field.names:
            other = seen.setdefault(relaxed(name), field.name)
            if other != field.name:
                return other, field.name
    return None
