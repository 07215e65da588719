"""Spans for OpenTelemetry, where the application has it installed; nothing otherwise, and nothing is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final


def _tracer() -> Any:
    try:
        trace: Any = import_module("opentelemetry.trace")
    except ImportError:
        return None
    return trace.get_tracer("herz")


_TRACER: Final = _tracer()


@contextmanager
def span(name: str, facts: Mapping[str, Any]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A span while this lasts; what is called with further facts adds them to it."""
    if _TRACER is None:
        yield lambda further: None
        return
    with _TRACER.start_as_current_span(name, attributes=dict(facts)) as made:
        yield lambda further: made.set_attributes(dict(further))
