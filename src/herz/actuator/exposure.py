"""Exposure: which endpoints answer, by what the configuration in force says now."""

from __future__ import annotations

import difflib
import logging
from typing import Final

from herz.app.herz import Herz
from herz.errors import ConfigurationError
from herz.model.snapshot import Snapshot
from herz.settings import Settings, read_settings

logger = logging.getLogger("herz")

INCLUDE: Final = "management.endpoints.web.exposure.include"
EVERYTHING: Final = "*"


class Exposure:
    """The `management.*` settings in force, read again whenever the configuration is another.

    Settings that cannot be used are logged, and those before them stay: at first the defaults, which expose `health`
    and `info` alone. While Herz does not run the last known ones hold.
    """

    def __init__(self, herz: Herz, known: frozenset[str]) -> None:
        self._herz = herz
        self._known = known
        self._read: tuple[Snapshot | None, Settings] = (None, Settings())
        self._told: set[str] = set()

    @property
    def settings(self) -> Settings:
        """What holds for a request that arrives now."""
        snapshot, settings = self._read
        if not self._herz.state.running:
            return settings
        current = self._herz.scope.current.snapshot
        if current is snapshot or current is None:  # None: it was stopped meanwhile
            return settings
        try:
            fresh = read_settings(current.composed.tree, lambda key: current.locate(key))
        except ConfigurationError as error:
            logger.error("the actuator keeps its settings: %s", error)
            fresh = settings
        if fresh.exposure != settings.exposure:
            self._told.clear()
        self._read = (current, fresh)
        for name in sorted(fresh.exposure - self._known - {EVERYTHING}):
            near = difflib.get_close_matches(name, self._known, 1)
            hint = f"did you mean {near[0]}" if near else f"known are {', '.join(sorted(self._known))}"
            self._once(name, f"{INCLUDE} lists {name!r}, which is no endpoint; {hint}")
        return fresh

    def exposes(self, name: str, settings: Settings) -> bool:
        """Whether the endpoint `name` answers. If not, the log says once which key to set: the response does not."""
        if name in settings.exposure or EVERYTHING in settings.exposure:
            return True
        self._once(name, f"the actuator answered 404 for {name}, which is not exposed; add {name} to {INCLUDE}")
        return False

    def _once(self, name: str, message: str) -> None:
        if name not in self._told:
            self._told.add(name)
            logger.warning("%s", message)
