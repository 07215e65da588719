"""One namespace of the control plane from Python: its draft, releases, instances, and the proof of what they run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from msgspec.structs import replace

from herz.client.exchange import Exchange, part
from herz.client.problems import NotThere
from herz.client.replies import Draft, Facts, Impact, Instance, Moved, RolloutEvent, Validation
from herz.client.version import release_number
from herz.release.approval import ApprovalState, Policy, Publication
from herz.release.atomicity import Verdict
from herz.release.channel import Channel, Release
from herz.release.content import Content
from herz.release.difference import KeyDifference
from herz.release.plan import Plan
from herz.release.report import Answer, AskKind
from herz.release.rollout import Check, Rollout
from herz.release.roster import Participant, Roster

WINDOW_S: Final = 2.0
"""How long instances have to answer a question."""
PAGE: Final = 5_000
"""Instances that are asked for at once."""
BUILD_WINDOW_S: Final = 30.0
"""And when they have to build something for it."""


class Namespace:
    """Drafts, releases, instances and rollouts of one application's namespace.

    Every method is one request. Errors are Herz's own: `UsageError` for what cannot work (`NotThere` where there is
    nothing by that name), `SourceUnavailable` where the control plane does not answer, `SourceDenied` where the token
    does not suffice, `Conflict` (a `DraftConflict` with the three-way difference) where somebody else was quicker.
    Nothing is tried again by itself.
    """

    def __init__(self, exchange: Exchange, app: str, namespace: str) -> None:
        self.app, self.name = app, namespace
        self._exchange = exchange
        self._place = f"/apps/{part(app)}/namespaces/{part(namespace)}"

    def __str__(self) -> str:
        return f"{self.app}/{self.name}"

    async def overview(self) -> Facts:
        """The newest release, the channel, the draft without its content, how many instances, the rollout in flight."""
        return await self._exchange.ask("GET", self._place, dict)

    # --- the draft --------------------------------------------------------------------------------

    async def draft(self) -> Draft:
        """What is being edited; one with revision 0 and no layers where nothing is.

        Without the scope `edit` its secrets are masked: `content.masked` is true, and it cannot be written back.
        """
        try:
            return await self._exchange.ask("GET", f"{self._place}/draft", Draft)
        except NotThere:
            return Draft()

    async def write_draft(
        self, content: Content, *, expect: int | None = None, base: int | None = None, message: str = ""
    ) -> Draft:
        """Replace the draft's content; the draft as it is then.

        `expect` is the revision that the change was made on, 0 where there was no draft: another one in the store is a
        `DraftConflict`, and nothing is written. So is a content with masked secrets: `ConfigurationError`.
        """
        body = _given(content=content, expect=expect, base=base, message=message or None)
        return await self._exchange.ask("PUT", f"{self._place}/draft", Draft, body)

    async def set(
        self, changes: Mapping[str, Any], *, layer: str | None = None, expect: int | None = None, message: str = ""
    ) -> Draft:
        """Change single keys of the draft, None deletes one; comments and other lines stay where they can."""
        body = _given(changes=dict(changes), layer=layer, expect=expect, message=message or None)
        return await self._exchange.ask("POST", f"{self._place}/draft/set", Draft, body)

    async def reset_draft(self) -> None:
        """Throw the draft away: the next one begins from what is live. Nothing where there is none."""
        with suppress(NotThere):
            await self._exchange.ask("DELETE", f"{self._place}/draft", type(None))

    async def validate(self) -> Validation:
        """Whether the draft can be released, and if not, every reason with its key and place."""
        return await self._exchange.ask("POST", f"{self._place}/draft/validate", Validation)

    async def difference(self) -> tuple[KeyDifference, ...]:
        """What the draft changes against what is live, key by key; secrets are masked."""
        return await self._exchange.ask("GET", f"{self._place}/draft/difference", tuple[KeyDifference, ...])

    async def schema(self) -> Facts | None:
        """The JSON Schema that drafts are validated with, None where there is none.

        Without the scope `edit` what it says of secrets is masked, and it cannot be written back.
        """
        try:
            return await self._exchange.ask("GET", f"{self._place}/schema", dict)
        except NotThere:
            return None

    async def set_schema(self, schema: Mapping[str, Any]) -> None:
        """Validate drafts with `schema` from now on."""
        await self._exchange.ask("PUT", f"{self._place}/schema", type(None), dict(schema))

    async def delete_schema(self) -> None:
        """Validate drafts with no schema any more. Nothing where there is none."""
        with suppress(NotThere):
            await self._exchange.ask("DELETE", f"{self._place}/schema", type(None))

    # --- releases ---------------------------------------------------------------------------------

    async def release(
        self,
        message: str,
        *,
        patch_id: str | None = None,
        git_commit: str | None = None,
        expect: int | None = None,
        publish: bool = True,
        force: bool = False,
    ) -> Release:
        """Make the draft a release: immutable, numbered, content-addressed.

        With `publish` every instance that is in no rollout runs it from now on; without, it stays dormant until it is
        published or rolled out. `expect` is the draft's revision. `ApprovalNeeded` where a layer that it changes needs
        approval and has none. `force` releases past what stops it, loudly.
        """
        body = _given(
            message=message,
            patch_id=patch_id,
            git_commit=git_commit,
            expect=expect,
            publish=publish,
            force=force or None,
        )
        return await self._exchange.ask("POST", f"{self._place}/releases", Release, body)

    async def releases(self, *, before: int | None = None, limit: int | None = None) -> tuple[Release, ...]:
        """The releases, the newest first; those below the number `before`, at most `limit`."""
        query = {"before": before, "limit": limit}
        return await self._exchange.ask("GET", f"{self._place}/releases", tuple[Release, ...], query=query)

    async def find_release(self, version: int | str) -> Release:
        """One release, by `13`, `"13"` or `"pay/default@13"`."""
        return await self._exchange.ask("GET", self._release(version), Release)

    async def content(self, version: int | str) -> Content:
        """What a release holds: its layers, as they were written; `masked` where this token may not see its secrets."""
        return await self._exchange.ask("GET", f"{self._release(version)}/content", Content)

    async def compare(self, before: int | str, after: int | str) -> tuple[KeyDifference, ...]:
        """What differs between two releases, key by key."""
        path = f"{self._release(before)}/difference/{release_number(after, self.app, self.name)}"
        return await self._exchange.ask("GET", path, tuple[KeyDifference, ...])

    async def publish(self, version: int | str, message: str, *, force: bool = False) -> Moved:
        """Point the channel at a release.

        `Conflict` while a rollout is under way, `ApprovalNeeded` while it is not approved; `force` goes past both,
        loudly.
        """
        body = _given(release=release_number(version, self.app, self.name), message=message, force=force or None)
        return await self._exchange.ask("POST", f"{self._place}/publish", Moved, body)

    async def rollback(self, version: int | str, message: str, *, expect: int | None = None) -> Moved:
        """Point the channel at an older release and reset the draft to it, in one write. `expect` is the draft's.

        What was live before needs no approval.
        """
        body = _given(to=release_number(version, self.app, self.name), message=message, expect=expect)
        return await self._exchange.ask("POST", f"{self._place}/rollback", Moved, body)

    async def publications(self, version: int | str) -> tuple[Publication, ...]:
        """When a release became live: by whom, approved by whom, by which rollout, whether by force; in order."""
        return await self._exchange.ask("GET", f"{self._release(version)}/publications", tuple[Publication, ...])

    async def channel(self) -> Channel:
        """Which release who runs: the stable pointer, and that of each batch of a rollout."""
        return await self._exchange.ask("GET", f"{self._place}/channel", Channel)

    # --- approval ---------------------------------------------------------------------------------

    async def policy(self) -> Policy | None:
        """Which layers need approval before a change of them is live, and by how many; None where none does."""
        try:
            return await self._exchange.ask("GET", f"{self._place}/policy", Policy)
        except NotThere:
            return None

    async def set_policy(self, layers: Sequence[str], approvals: int = 1) -> None:
        """Ask for approval of a change of `layers` (`*`: of all) from now on. Needs scope `admin`."""
        body = {"layers": list(layers), "approvals": approvals}
        await self._exchange.ask("PUT", f"{self._place}/policy", type(None), body)

    async def delete_policy(self) -> None:
        """Ask for no approval any more. Nothing where none was asked for. Needs scope `admin`."""
        with suppress(NotThere):
            await self._exchange.ask("DELETE", f"{self._place}/policy", type(None))

    async def approvals(self, version: int | str | None = None) -> ApprovalState:
        """How it stands with a release, by default the draft: what needs approval, who wrote it, who approves."""
        query = {"release": None if version is None else release_number(version, self.app, self.name)}
        return await self._exchange.ask("GET", f"{self._place}/approvals", ApprovalState, query=query)

    async def approve(self, digest: str, message: str = "", *, version: int | str | None = None) -> ApprovalState:
        """Approve a release, by default the draft; how it stands then. Needs scope `approve`.

        `digest` is that of the content that was looked at: `Conflict` where it is another one by now. `SourceDenied`
        for whoever wrote some of it.
        """
        number = None if version is None else release_number(version, self.app, self.name)
        body = _given(digest=digest, release=number, message=message or None)
        return await self._exchange.ask("POST", f"{self._place}/approvals", ApprovalState, body)

    async def withdraw_approval(self, digest: str, message: str = "", *, approver: str | None = None) -> None:
        """Take one's approval of a content back; that of `approver` with scope `admin`. What is live stays so."""
        query = {"digest": digest, "approver": approver, "message": message or None}
        await self._exchange.ask("DELETE", f"{self._place}/approvals", type(None), query=query)

    # --- instances --------------------------------------------------------------------------------

    async def instances(self) -> tuple[Instance, ...]:
        """What every instance runs, as it reported after its last swap, ordered by name."""
        found: list[Instance] = []
        while True:
            query = {"after": found[-1].instance if found else None, "limit": PAGE}
            page = await self._exchange.ask("GET", f"{self._place}/instances", list[Instance], query=query)
            found += page
            if len(page) < PAGE:
                return tuple(found)

    async def instance(self, name: str) -> Instance:
        """What one instance runs."""
        return await self._exchange.ask("GET", f"{self._place}/instances/{part(name)}", Instance)

    async def ask(
        self,
        kind: AskKind | str,
        *,
        keys: Sequence[str] = (),
        instances: Sequence[str] = (),
        cohorts: Sequence[str] = (),
        digest: str | None = None,
        sources: bool = False,
        window_s: float = WINDOW_S,
    ) -> tuple[Answer, ...]:
        """Ask instances what they run (`probe`), what keys are there (`explain`) or to build a content (`build`).

        With `sources` they tell as well what they read from, and how each watch session stands. Each answers from what
        it runs at that moment; who does not within `window_s` is not in the result.
        """
        body = _given(
            kind=AskKind(kind),
            keys=tuple(keys) or None,
            instances=tuple(instances) or None,
            cohorts=tuple(cohorts) or None,
            digest=digest,
            sources=sources or None,
            window_s=window_s,
        )
        path = f"{self._place}/asks"
        return await self._exchange.ask("POST", path, tuple[Answer, ...], body, waits_s=window_s)

    # --- proof ------------------------------------------------------------------------------------

    async def verify_atomicity(
        self,
        patch_id: str | None,
        config_version: int | str,
        *,
        cohorts: Sequence[str] = (),
        instances: Sequence[str] = (),
        window_s: float = WINDOW_S,
        allow_overrides: Sequence[str] = (),
    ) -> bool:
        """Whether every instance runs patch `patch_id` with the whole of `config_version` (13, "13", "pay/default@13").

        `verify` gives the report behind it. An instance that does not answer within `window_s` is not verified. Where
        the control plane itself does not answer there is no verdict, and that is raised: `SourceUnavailable`.
        """
        verdict = await self.verify(
            patch_id,
            config_version,
            cohorts=cohorts,
            instances=instances,
            window_s=window_s,
            allow_overrides=allow_overrides,
        )
        return verdict.verified

    async def verify(
        self,
        patch_id: str | None,
        config_version: int | str,
        *,
        cohorts: Sequence[str] = (),
        instances: Sequence[str] = (),
        window_s: float = WINDOW_S,
        allow_overrides: Sequence[str] = (),
    ) -> Verdict:
        """The proof with its report: who differs, in which key, with both values and where each was written.

        A fresh question goes to the instances, of `cohorts` or by name, by default all; they answer from what they run
        while the store is read. `patch_id` None takes any program. `allow_overrides` names keys that an instance may
        set otherwise by itself.
        """
        body = _given(
            patch_id=patch_id,
            config_version=release_number(config_version, self.app, self.name),
            cohorts=tuple(cohorts) or None,
            instances=tuple(instances) or None,
            window_s=window_s,
            allow_overrides=tuple(allow_overrides) or None,
        )
        return await self._exchange.ask("POST", f"{self._place}/verify", Verdict, body, waits_s=window_s)

    async def impact(self, version: int | str | None = None, *, dry_build: str | None = None) -> Impact:
        """What a release, by default the draft, would change: keys, instances, and objects that would be rebuilt.

        With `dry_build` that instance builds it, does not use it, and says how that went (`rehearsed`).
        """
        number = None if version is None else release_number(version, self.app, self.name)
        waits_s = BUILD_WINDOW_S if dry_build is not None else 0.0
        body = _given(release=number, dry_build=dry_build)
        return await self._exchange.ask("POST", f"{self._place}/impact", Impact, body, waits_s=waits_s)

    # --- rollouts ---------------------------------------------------------------------------------

    async def start_rollout(
        self,
        version: int | str,
        plan: Plan,
        *,
        selector: Mapping[str, str] | None = None,
        patch_id: str | None = None,
        checks: Sequence[Check | Mapping[str, Any]] = (),
        deployer: str | None = None,
        allow_overrides: Sequence[str] = (),
        message: str = "",
    ) -> Rollout:
        """Begin to roll a release out batch by batch; the rollout as it begins. The control plane drives it from here.

        `selector` limits it to instances with these labels (`"eu|us"` is either). `checks` watch each batch while it
        bakes, `deployer` names the server's hook that installs the patch. `Conflict` while another one is under way,
        `ApprovalNeeded` while the release is not approved.
        """
        body = _given(
            release=release_number(version, self.app, self.name),
            plan=plan,
            selector=dict(selector) if selector else None,
            patch_id=patch_id,
            checks=tuple(checks) or None,
            deployer=deployer,
            allow_overrides=tuple(allow_overrides) or None,
            message=message,
        )
        return await self._exchange.ask("POST", f"{self._place}/rollouts", Rollout, body)

    async def rollouts(self) -> tuple[Rollout, ...]:
        """All rollouts, the newest first."""
        return await self._exchange.ask("GET", f"{self._place}/rollouts", tuple[Rollout, ...])

    async def rollout(self, rollout: str) -> Rollout:
        """One rollout: its phase, batch, members and evidence."""
        return await self._exchange.ask("GET", self._rollout(rollout), Rollout)

    async def rollout_roster(self, rollout: str, *, well: bool | None = None) -> Roster:
        """Who takes part in a rollout, by name: how far each has come, when, and what it proved.

        `well` False: only those to look at; True: only the others. Once the rollout is over it is what was recorded.
        """
        found: tuple[Participant, ...] = ()
        while True:
            query = {
                "after": found[-1].instance if found else None,
                "limit": PAGE,
                "well": None if well is None else str(well).lower(),
            }
            page = await self._exchange.ask("GET", f"{self._rollout(rollout)}/roster", Roster, query=query)
            found += page.participants
            if len(page.participants) < PAGE:
                return replace(page, participants=found)

    async def rollout_events(self, rollout: str) -> AsyncIterator[Rollout]:
        """A rollout as it is, then again after each change, until it is over.

        Ends before that where the server goes: whoever wants the rest looks at `over`, and asks again.
        """
        async with aclosing(self._exchange.lines(f"{self._rollout(rollout)}/events", RolloutEvent)) as events:
            async for event in events:
                if event.rollout is not None:
                    yield event.rollout

    async def pause(self, rollout: str, message: str = "") -> Rollout:
        """Take no further step forward until `resume`; what was committed is still verified, what fails rolled back."""
        return await self._command(rollout, "pause", message)

    async def resume(self, rollout: str, message: str = "") -> Rollout:
        """Go on where it was paused; windows begin anew."""
        return await self._command(rollout, "resume", message)

    async def promote(self, rollout: str, message: str = "", *, all_batches: bool = False) -> Rollout:
        """Bake the batch in work no longer, with `all_batches` no later one either. Each is verified all the same."""
        return await self._command(rollout, "promote", message, all_batches=all_batches)

    async def abort(self, rollout: str, message: str = "") -> Rollout:
        """Roll every batch back at once."""
        return await self._command(rollout, "abort", message)

    async def force(self, rollout: str, message: str) -> Rollout:
        """Break the glass: everybody runs the release, without proof. Loud in the audit log; needs scope `approve`."""
        return await self._command(rollout, "force", message)

    async def _command(self, rollout: str, command: str, message: str, **options: Any) -> Rollout:
        body = {"message": message, **options}
        return await self._exchange.ask("POST", f"{self._rollout(rollout)}/{command}", Rollout, body)

    def _rollout(self, rollout: str) -> str:
        return f"{self._place}/rollouts/{part(rollout)}"

    def _release(self, version: int | str) -> str:
        return f"{self._place}/releases/{release_number(version, self.app, self.name)}"


def _given(**members: Any) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
