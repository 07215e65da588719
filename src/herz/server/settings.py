"""How a server runs: what it is called, who may use it, and how much it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from herz.errors import UsageError
from herz.release.content import CONTENT_BYTES

BODY_BYTES: Final = 1024 * 1024
"""What a request may hold where nothing else is said."""
CONTENT_BODY_BYTES: Final = 2 * CONTENT_BYTES + BODY_BYTES
"""What a request may hold that brings a content: JSON escapes line ends and quotes, so text grows on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An OpenID Connect provider that people log in by. `name_claim` is what becomes the user's name."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    groups_claim: str = "groups"
    name_claim: str = "preferred_username"
    skew_s: int = 60
    """Seconds that the provider's clock may differ from ours."""
    timeout_s: float = 10.0

    @property
    def label(self) -> str:
        """What the login page calls it: its host."""
        return urlsplit(self.issuer).hostname or self.issuer


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
    public_url: str | None = None
    """What browsers call this server where a proxy stands before it: `https://herz.example`."""
    session_idle_s: float = 3600.0
    """After how long a session ends that nobody used; what an open page asks by itself is no use."""
    session_s: float = 12 * 3600.0
    """After how long a session ends in any case."""
    session_rotate_s: float = 900.0
    """After how long a session gets another secret."""
    session_grace_s: float = 30.0
    """For how long the secret before is still good, for requests that are under way."""
    argon2: tuple[int, int, int] = (65_536, 3, 4)
    """Memory in KiB, passes and lanes of a password's hash: by default RFC 9106's for little memory."""
    provider: Provider | None = None


def checked_public_url(url: str | None) -> str | None:
    """`url` itself; `UsageError` unless it is the address of a server, without a path."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UsageError(f"{url[:200]!r} is no address of a server", remedy="write https://herz.example")
    return url.rstrip("/")
