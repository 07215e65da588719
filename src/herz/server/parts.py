"""The parts of the server, in the order in which they are made: what one offers the later ones can use."""

from __future__ import annotations

from herz.server import api_delivery
from herz.server.console import part as console
from herz.server.door import part as door
from herz.server.plane import MakePart
from herz.server.rollouts.standing import rollouts


def all_parts() -> tuple[MakePart, ...]:
    """Every part besides the central one."""
    return (api_delivery.part, rollouts(), console.part, door.part)
