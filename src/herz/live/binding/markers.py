"""Markers: what a model's author says of a field, written in its annotation."""

from __future__ import annotations

from dataclasses import dataclass

from herz.errors import UsageError
from herz.model.meaning import Kind


@dataclass(frozen=True, slots=True)
class Precision:
    """Changes below a step do not count: `Annotated[float, Precision("ms")]`, or a plain step, `Precision("0.01")`.

    A unit of time makes the field a number of seconds, compared in that unit, rounded half up. The same is said by
    pydantic's `Field(json_schema_extra={"precision": "ms"})`, msgspec's `Meta(extra_json_schema=...)` and the
    `metadata=` of a dataclass or attrs field. `UsageError` when `step` is neither a unit nor a positive number.
    """

    step: str

    def __post_init__(self) -> None:
        self.kind  # noqa: B018 - a wrong precision is told where it is written

    @property
    def kind(self) -> Kind:
        """How values of the field are compared."""
        try:
            return Kind.of_precision(self.step)
        except (ValueError, ArithmeticError, TypeError, AttributeError):
            raise UsageError(
                f"precision {self.step!r} is neither a unit of time nor a positive step",
                remedy='write "ms", "s" or a number such as "0.01"',
            ) from None


@dataclass(frozen=True, slots=True)
class RestartOnly:
    """A change of this field waits for a restart: `Annotated[int, RestartOnly]`.

    The running process keeps the value it started with, next to the new values of the other fields; what waits is
    reported. `{"restart_only": True}` says the same wherever `{"precision": ...}` may stand (see `Precision`).
    """
