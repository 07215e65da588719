"""Hot configuration for running Python services: a change reaches every object that uses it, whole, in order, once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from herz.app.events import Phase, Rejected
    from herz.app.health import Health
    from herz.app.herz import Herz
    from herz.app.manager import ConfigChangeEvent, ConfigLoadedEvent, ConfigManager
    from herz.errors import (
        BindingError,
        BuildError,
        CircularDependency,
        ConfigLoadError,
        ConfigurationError,
        HerzError,
        MissingProvider,
        NotRunning,
        SourceError,
        UsageError,
    )
    from herz.live.binding import Precision, RestartOnly
    from herz.live.handle import Handle
    from herz.model.change import Change, ChangeSet
    from herz.model.explanation import Explanation
    from herz.model.meaning import same
    from herz.model.secret import Secret
    from herz.model.snapshot import Snapshot
    from herz.model.tree import ABSENT
    from herz.model.units import ByteSize
    from herz.sources.arguments import ArgumentSource
    from herz.sources.environment import EnvironmentSource
    from herz.sources.files import FileSource
    from herz.sources.mapping import MappingSource

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "ArgumentSource",
    "BindingError",
    "BuildError",
    "ByteSize",
    "Change",
    "ChangeSet",
    "CircularDependency",
    "ConfigChangeEvent",
    "ConfigLoadError",
    "ConfigLoadedEvent",
    "ConfigManager",
    "ConfigurationError",
    "EnvironmentSource",
    "Explanation",
    "FileSource",
    "Handle",
    "Health",
    "Herz",
    "HerzError",
    "MappingSource",
    "MissingProvider",
    "NotRunning",
    "Phase",
    "Precision",
    "Rejected",
    "RestartOnly",
    "Secret",
    "Snapshot",
    "SourceError",
    "UsageError",
    "__version__",
    "same",
]

_HOMES: Final = {
    "Phase": "herz.app.events",
    "Rejected": "herz.app.events",
    "Health": "herz.app.health",
    "Herz": "herz.app.herz",
    "ConfigChangeEvent": "herz.app.manager",
    "ConfigLoadedEvent": "herz.app.manager",
    "ConfigManager": "herz.app.manager",
    "BindingError": "herz.errors",
    "BuildError": "herz.errors",
    "CircularDependency": "herz.errors",
    "ConfigLoadError": "herz.errors",
    "ConfigurationError": "herz.errors",
    "HerzError": "herz.errors",
    "MissingProvider": "herz.errors",
    "NotRunning": "herz.errors",
    "SourceError": "herz.errors",
    "UsageError": "herz.errors",
    "Precision": "herz.live.binding",
    "RestartOnly": "herz.live.binding",
    "Handle": "herz.live.handle",
    "Change": "herz.model.change",
    "ChangeSet": "herz.model.change",
    "Explanation": "herz.model.explanation",
    "same": "herz.model.meaning",
    "Secret": "herz.model.secret",
    "Snapshot": "herz.model.snapshot",
    "ABSENT": "herz.model.tree",
    "ByteSize": "herz.model.units",
    "ArgumentSource": "herz.sources.arguments",
    "EnvironmentSource": "herz.sources.environment",
    "FileSource": "herz.sources.files",
    "MappingSource": "herz.sources.mapping",
}
"""Where each name comes from. It is imported when it is first used: a program that only mentions Herz, and every
command of its command line, is spared what it does not need. So is one that imports `Herz` and makes none: what
reads sources (asyncio, formats, the merge) is imported with the first one."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
