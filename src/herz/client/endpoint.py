"""Where the control plane is, and what its clients show it: address, token, certificates."""

from __future__ import annotations

import os
import ssl
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from herz.errors import SourceDenied, UsageError
from herz.tls.context import client_context
from herz.tls.guard import check_endpoints
from herz.tls.material import Labels, TlsMaterial

DEFAULT_URL: Final = "http://127.0.0.1:4379"
"""Where `herz serve` listens unless it is told otherwise."""
LABELS: Final = Labels(urls="server", cert="cert", key="key", ca="ca")

_SCHEMES: Final = {"http": "http", "https": "https", "herz": "http", "herz+tls": "https"}


@dataclass(frozen=True)
class Endpoint:
    """One control plane as a client sees it. `token` never shows when it is printed."""

    url: str
    token: str | None = field(default=None, repr=False)
    author: str | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        author: str | None = None,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """The endpoint at `url`, by default HERZ_SERVER's, else `http://127.0.0.1:4379`.

        `http` and `https` stand beside `herz` and `herz+tls`, which sources use for the same server. The token is
        `token`, else what `token_file` holds, else HERZ_TOKEN. `author` is who acts on a server that asks for no token.
        `UsageError` for an address or a token that is none,
        `SourceDenied` for a token file that cannot be read, `TlsError` where what is given would not be used.
        """
        environment = os.environ if environment is None else environment
        given = url or environment.get("HERZ_SERVER") or DEFAULT_URL
        base = _base(given)
        material = TlsMaterial(cert=_text(cert), key=_text(key), ca=_text(ca))
        check_endpoints([base], material, labels=LABELS)
        if token is None and token_file is not None:
            token = _from_file(Path(token_file))
        token = token or environment.get("HERZ_TOKEN") or None
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise UsageError("the token has characters that a header cannot carry", remedy="look at how it was passed")
        context = client_context(material) if base.startswith("https:") else None
        return cls(base, token, None if author is None else _in_ascii(author), context)

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        accept = {"Accept": "application/json"}
        if self.token is not None:
            return accept | {"Authorization": f"Bearer {self.token}"}
        return accept | {"X-Herz-Author": self.author} if self.author else accept


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        scheme, port = _SCHEMES.get(parts.scheme), parts.port
    except ValueError:
        scheme = port = None
        parts = urlsplit("")
    if scheme is None or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        shown = url.rpartition("@")[2]  # what stands before is a password
        raise UsageError(
            f"{shown!r} is no address of a control plane", remedy=f"write {DEFAULT_URL}, as `herz serve` says"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}" + (f":{port}" if port else "") + parts.path.rstrip("/")


def _in_ascii(name: str) -> str:
    """A name as a header carries it: without accents, other letters as question marks."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in plain).strip()[:200]


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceDenied(
            f"the token cannot be read: {reason}", where=str(path), remedy="mend the file, or set HERZ_TOKEN"
        ) from error
