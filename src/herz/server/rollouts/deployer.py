"""The deployer hook: what installs a patch on the members of a batch, run as the operator has set it up.

A hook is named by a rollout and defined by whoever starts the server, so that a token which may start a rollout cannot
run a program of its own choice. It is given the members as JSON, and must be safe to call again for the same batch:
a server that died may have called it already.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Final

import msgspec

from herz.errors import SourceError, SourceUnavailable, UsageError
from herz.server.rollouts.outbound import Outbound, permitted, shown

LIMIT_S: Final = 600.0
"""What installing a patch on one batch may take, unless the hook says otherwise."""
SAID_BYTES: Final = 2_000
"""How much of what a command says on standard error is kept."""


class DeployFailed(SourceError):
    """The hook did not install the patch; the message says why."""


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instance that is to get the patch."""

    instance: str
    labels: dict[str, str] = {}
    patch_id: str | None = None
    """What it was started with, as far as is known."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the hook is given, as JSON: install `patch_id` on `members`.

    `key` is the same when it is called again for the same batch. The release named is not in force there before all
    members report the patch.
    """

    key: str
    app: str
    namespace: str
    rollout: str
    batch: int
    patch_id: str | None
    release: int
    members: tuple[Member, ...]


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deployer: a `command` (its argument list; no shell, the order on standard input), or the URL of a `webhook`.

    `limit_s` is the seconds that it may take; after that a command is killed with all its children.
    """

    command: tuple[str, ...] = ()
    webhook: str | None = None
    limit_s: float = LIMIT_S

    def checked(self, name: str) -> Hook:
        """The hook itself; `UsageError` when it is not exactly one of the two."""
        if bool(self.command) == bool(self.webhook) or not 0 < self.limit_s < 1e6:
            raise UsageError(
                f"deployer {name!r} needs a command or a webhook, and a time limit in seconds",
                remedy='write {"command": ["/path/to/deploy", "--flag"]} or {"webhook": "https://…"}',
            )
        if self.webhook is not None:
            permitted(self.webhook, f"deployer {name!r}")
        return self


def hooks_of(data: bytes, where: str) -> dict[str, Hook]:
    """The deployers in a JSON object of names; `UsageError` that says which is not usable."""
    try:
        hooks = msgspec.json.decode(data, type=dict[str, Hook])
    except msgspec.DecodeError as error:
        raise UsageError(
            f"not deployers: {error}", where=where, remedy='write {"NAME": {"command": ["/path/to/deploy"]}}'
        ) from error
    return {name: hook.checked(name) for name, hook in hooks.items()}


class Deployer:
    """Carries out orders by the hooks of this server; made once, used for every rollout."""

    def __init__(self, hooks: Mapping[str, Hook], outbound: Outbound) -> None:
        self._hooks = {name: hook.checked(name) for name, hook in hooks.items()}
        self._outbound = outbound

    @property
    def names(self) -> tuple[str, ...]:
        """The hooks that a rollout may name."""
        return tuple(self._hooks)

    def known(self, name: str) -> str:
        """`name` itself; `UsageError` when no hook is called that."""
        if name not in self._hooks:
            have = ", ".join(map(repr, self._hooks)) or "none"
            raise UsageError(
                f"no deployer is called {name!r}, there is {have}",
                remedy="whoever runs the server defines them in the file that HERZ_DEPLOYERS names",
            )
        return name

    async def deploy(self, name: str, order: Order) -> None:
        """Have hook `name` carry out `order`; returns when it says that it has, `DeployFailed` otherwise.

        Cancelling ends a command with its children.
        """
        hook = self._hooks[self.known(name)]
        data = msgspec.json.encode(order)
        if hook.webhook is not None:
            await self._post(name, hook.webhook, hook.limit_s, data)
        else:
            await _run(name, hook.command, hook.limit_s, data)

    async def _post(self, name: str, url: str, limit_s: float, data: bytes) -> None:
        try:
            reply = await self._outbound.post(url, data, limit_s=limit_s)
        except SourceUnavailable as error:
            raise _failed(name, error.what) from error
        if not reply.ok:
            raise _failed(name, f"{shown(url)} answered {reply.status}")


def _failed(name: str, why: str) -> DeployFailed:
    return DeployFailed(
        f"deployer {name!r}: {why}", remedy="see what the deployer says; the batch stays on what it was running"
    )


async def _run(name: str, command: Sequence[str], limit_s: float, data: bytes) -> None:
    # Files, not pipes: what it leaves running in the background may keep them open without holding us up.
    with TemporaryFile() as order, TemporaryFile() as said:
        order.write(data)
        order.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=order,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=said,
                env=_environment(),
                start_new_session=True,  # a group of its own, so that its children can be ended with it
            )
        except OSError as error:
            raise _failed(name, f"{shlex.join(command[:1])} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(limit_s):
                code = await process.wait()
        except TimeoutError:
            raise _failed(name, f"not done within {limit_s:g} s, so it was ended") from None
        finally:
            if process.returncode is None:
                _end(process)
                await process.wait()
        if code != 0:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise _failed(name, ": ".join(filter(None, (how, _tail(said)))))


def _environment() -> dict[str, str]:
    """Ours without what gives access to the control plane."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HERZ_")}


def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(said: IO[bytes]) -> str:
    """The end of what it said on standard error."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - SAID_BYTES))
    return said.read(SAID_BYTES).decode("utf-8", "replace").strip()
