"""Hot configuration for running Python services: a change reaches every object that uses it, whole, in order, once."""

from __future__ import annotations

from herz.app.events import Phase, Rejected
from herz.app.health import Health
from herz.app.herz import Herz
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
    "ConfigLoadError",
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
