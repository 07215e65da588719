"""How a server runs: what it is called, who may use it, and how much it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from herz.release.content import CONTENT_BYTES

BODY_BYTES: Final = 1024 * 1024
"""What a request may hold where nothing else is said."""
CONTENT_BODY_BYTES: Final = 2 * CONTENT_BYTES + BODY_BYTES
"""What a request may hold that brings a content: JSON escapes line ends and quotes, so text grows on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The options of one `herz serve` process.

    `open` lets everybody in who reaches it, without a token: only for loopback. `user` is who acts then.
    `proof_s` is within how many seconds an idle stream proves that it is current.
    """

    name: str = "herz"
    open: bool = True
    user: str = "local"
    proof_s: float = 10.0
    keys: int = 200_000
    """Keys that the merged layers of a namespace may have."""
    collect_after_s: float = 3600.0
    """For how long an unreferenced content stays: one that is being written is not referenced yet."""
    token_cache_s: float = 1.0
    """For how long a token is believed without asking the store again; so long a revoked one may live on."""
