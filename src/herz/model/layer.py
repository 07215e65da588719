"""Layers: documents in the order in which they are merged."""

from __future__ import annotations

from msgspec import Struct

from herz.model.document import Document


class Layer(Struct, frozen=True):
    """One document in the merge; a higher rank wins.

    `source` names the source it came from. `dimension` is what the layer is about (an application
    has `application`; governance adds infrastructure, policy, tenant, feature). `local` layers
    (environment, command line) belong to one instance and stay out of the release fingerprint.
    `mount` is the path at which the document's tree is put, empty for the root.
    """

    name: str
    document: Document
    rank: int
    source: str
    dimension: str = "application"
    local: bool = False
    mount: tuple[str, ...] = ()
