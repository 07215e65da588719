"""Binding: typed models filled from the table under a prefix.

`Binding` inspects a model once and fills it from each new table; the markers `Precision` and `RestartOnly` say in a
model's annotations what its types cannot. How text becomes a value is told in `scalars` and `shapes`.
"""

from __future__ import annotations

from herz.live.binding.binding import Binding, Bound, defaults
from herz.live.binding.frozen import FrozenProperties
from herz.live.binding.markers import Precision, RestartOnly
from herz.model.secret import Secret
from herz.model.units import ByteSize

__all__ = ["Binding", "Bound", "ByteSize", "FrozenProperties", "Precision", "RestartOnly", "Secret", "defaults"]
