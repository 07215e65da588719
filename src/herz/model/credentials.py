"""Texts for people that may carry credentials: in URLs, and where something is assigned to a name that says so."""

from __future__ import annotations

import re
from typing import Final

from herz.model.secret import MASK

_USER_INFORMATION: Final = re.compile(
    r"(?<=://)(?:[^/?#\s@:]*:(?!\d{1,5}(?:[/?#]|$))\S*@"  # to the last @, for not all quote it; not a port
    r"|[^/?#\s]*@)"
)
_ASSIGNMENT: Final = re.compile(
    r"\b((?:[\w.-]*[-_.])?(?:password|passwd|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key)\s*=\s*)"
    r"(?:'[^']*'|\"[^\"]*\"|[^\s&;,]+)",
    re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """`text` with the user information of every URL in it, and every `password=…`, masked."""
    if "://" in text:
        text = _USER_INFORMATION.sub(f"{MASK}@", text)
    return _ASSIGNMENT.sub(rf"\1{MASK}", text) if "=" in text else text
