"""Access: who may see details where the configuration says `when-authorized`."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from herz.errors import UsageError
from herz.model.secret import Secret

logger = logging.getLogger("herz")

Authorize: TypeAlias = Callable[[Any], "bool | Awaitable[bool]"]
"""Given the ASGI scope or the WSGI environ: True, and nothing else, lets whoever asks see details. Only ASGI awaits."""


class Access:
    """Decides by a bearer token (RFC 6750, in the header alone) or a callable of the application's; else nobody may."""

    def __init__(self, token: Secret | str | None = None, authorize: Authorize | None = None) -> None:
        if token is not None and authorize is not None:
            raise UsageError("the actuator was given both token= and authorize=", remedy="pass one of them")
        if token is not None and not Secret(token):
            raise UsageError("the actuator's token is empty", remedy="pass a long random one, or none")
        self._digest = None if token is None else Secret(token).digest()
        self._authorize = authorize

    def allows(self, request: Any, authorization: str) -> bool:
        """Whether the request may see details. `authorization` is its header of that name."""
        found = self._asked(request, authorization)
        if isinstance(found, Awaitable):
            logger.error("the actuator's authorize= is asynchronous, which WSGI cannot await; details are withheld")
            if isinstance(found, Coroutine):
                found.close()
        return found is True

    async def aallows(self, request: Any, authorization: str) -> bool:
        """The same, for `authorize` that is asynchronous as well."""
        found = self._asked(request, authorization)
        if isinstance(found, Awaitable):
            try:
                found = await found
            except Exception:
                logger.exception("the actuator's authorize= failed; details are withheld")
        return found is True

    def _asked(self, request: Any, authorization: str) -> bool | Awaitable[bool]:
        if self._digest is not None:
            scheme, _, given = authorization.partition(" ")
            # Digests, so that not even the length of the token can be measured.
            same = hmac.compare_digest(Secret(given.strip()).digest(), self._digest)
            return same and scheme.lower() == "bearer"
        if self._authorize is None:
            return False
        try:
            return self._authorize(request)
        except Exception:
            logger.exception("the actuator's authorize= failed; details are withheld")
            return False
