"""The application under examination: imported, its declarations read, not started."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herz.app.models import Models
from herz.errors import HerzError, UsageError
from herz.model.key import Path as KeyPath
from herz.model.key import relaxed
from herz.model.meaning import Kind

if TYPE_CHECKING:
    from herz.app.herz import Herz
    from herz.live.providers import Properties, Providers


class NotImportable(HerzError):
    """The module that was named as the application cannot be imported, or holds no Herz under that name."""


@dataclass(frozen=True, slots=True)
class Application:
    """A Herz object and what was declared on it; `package` is the file or folder of its code."""

    name: str
    herz: Herz
    package: Path | None

    @property
    def providers(self) -> Providers:
        """What is declared."""
        return self.herz.scope.providers

    @property
    def properties(self) -> list[Properties]:
        """The models that are bound, in the order of their declaration."""
        return list(self.providers.properties.values())

    @property
    def kind_of(self) -> Callable[[KeyPath], Kind | None]:
        """What the models say of a key: a duration, a size, a precision."""
        return Models(self.providers).kind_of

    def read_keys(self) -> set[KeyPath]:
        """Every key that a model reads, by relaxed absolute path; `*` stands for any name."""
        return {(*one.relaxed, *map(relaxed, path)) for one in self.properties for path in one.binding.paths() if path}


def imported(name: str) -> Application:
    """The application that `module:attribute` names, as servers find it: the current folder can be imported from.

    `UsageError` when the name is not of that form, `NotImportable` when there is no Herz.
    """
    module_name, colon, attribute = name.partition(":")
    if not module_name or not colon or not attribute:
        raise UsageError(f"{name!r} names no application", remedy="write MODULE:ATTRIBUTE, for example app.main:herz")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module: Any = importlib.import_module(module_name)
    except Exception as error:
        raise NotImportable(
            f"{module_name} cannot be imported: {type(error).__name__}: {error}",
            where=_raised_at(error) or module_name,
            remedy="run it where the service runs, with the same packages installed",
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    from herz.app.herz import Herz

    if not isinstance(found, Herz):
        raise NotImportable(
            f"{attribute} of {module_name} is " + ("not there" if found is None else f"a {type(found).__name__}"),
            where=name,
            remedy="name the Herz object of the application",
        )
    return Application(name, found, _package(module))


def _raised_at(error: BaseException) -> str | None:
    trace = error.__traceback__
    place = None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and os.sep + "importlib" + os.sep not in file:
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _package(module: Any) -> Path | None:
    """The folder of the topmost package that holds the module, or its file when it is in none."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    file = getattr(top, "__file__", None) or getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(file)
    return path.parent if path.name == "__init__.py" or "." in module.__name__ else path
