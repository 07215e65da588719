"""Approval: who must agree before a change of certain layers becomes live, and what an agreement is worth.

A policy names layers. Whatever is to become stable and changes one of them, against what is stable at that moment,
needs the approval of people who wrote none of it. An approval is of one content, against one stable content: another
edit is another content, and where stable has moved so that the change of a layer is another one, it counts no more.

A layer is changed when its text, format or dimension is another one, when it comes or goes, and when other layers lie
above it: what it says would take effect otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from herz.errors import UsageError
from herz.release.content import LayerChunks, Manifest
from herz.release.record import Record

EVERY_LAYER: Final = "*"
APPROVALS_MOST: Final = 20
"""How many approvals a policy may ask for."""
_LAYERS_MOST: Final = 100
_LAYER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Policy(Record, frozen=True, kw_only=True):
    """What must be approved in a namespace: a change of one of `layers` (`*` is all), by `approvals` people."""

    layers: tuple[str, ...]
    approvals: int = 1

    def checked(self) -> Policy:
        """The policy itself; `UsageError` when it makes no sense."""
        if not self.layers or len(self.layers) > _LAYERS_MOST:
            raise UsageError(
                f"a policy of {len(self.layers)} layers", remedy=f"name 1 to {_LAYERS_MOST}, or * for all of them"
            )
        for layer in self.layers:
            if layer != EVERY_LAYER and not _LAYER.fullmatch(layer):
                raise UsageError(
                    f"{layer[:200]!r} is not the name of a layer", remedy="name it as the draft does, or *"
                )
        if not 1 <= self.approvals <= APPROVALS_MOST:
            raise UsageError(f"{self.approvals} approvals", remedy=f"ask for 1 to {APPROVALS_MOST}")
        return self

    def covers(self, layer: str) -> bool:
        """Whether a change of this layer needs approval."""
        return EVERY_LAYER in self.layers or layer in self.layers


class Approval(Record, frozen=True, kw_only=True):
    """That somebody agrees to one content: to its change of `layers`, against the content `against` (None: nothing).

    `against_release` is the number of the release that was stable then; `token` the id of the token that proved them.
    """

    by: str
    time: datetime
    layers: tuple[str, ...]
    message: str = ""
    token: str | None = None
    against: str | None = None
    against_release: int | None = None


class GivenApprovals(Record, frozen=True, kw_only=True):
    """All approvals of one content in one namespace, each person's once."""

    given: tuple[Approval, ...] = ()


class Publication(Record, frozen=True, kw_only=True):
    """That a release became stable: the proof that it was, which is kept for ever.

    `approved_by` is who had approved it where that was needed. `forced`: somebody broke the glass.
    """

    time: datetime
    by: str
    approved_by: tuple[str, ...] = ()
    forced: bool = False
    rollout: str | None = None


class Weighed(Record, frozen=True, kw_only=True):
    """An approval, and whether it counts now; `why_not` says why it does not."""

    approval: Approval
    counts: bool
    why_not: str | None = None


class ApprovalState(Record, frozen=True, kw_only=True, omit_defaults=False):
    """How it stands with the approval of a release, of the draft where `release` is None.

    `layers` are those that it changes against the stable release `against` and that the policy covers. `was_stable`: it
    was live before, and may be again without approval. `needed`: it can become live only with approval. `have` counts
    the people whose approval counts, of `need`. `ok`: nothing is missing.
    """

    app: str
    namespace: str
    release: int | None
    digest: str
    against: int | None
    authors: tuple[str, ...]
    layers: tuple[str, ...]
    was_stable: bool
    needed: bool
    have: int
    need: int
    ok: bool
    given: tuple[Weighed, ...] = ()

    @property
    def approved_by(self) -> tuple[str, ...]:
        """Who has approved it, where that was needed."""
        return tuple(one.approval.by for one in self.given if one.counts) if self.needed else ()

    def refusal(self, name: str) -> str | None:
        """Why somebody of this name cannot approve it, None when they can."""
        if not self.needed:
            return "it needs no approval"
        author = next((one for one in self.authors if person(one) == person(name)), None)
        return None if author is None else f"{author} wrote some of it: somebody else must approve it"


class Standing(NamedTuple):
    """A layer as far as an approval is about it: what it is, and which layers lie above it."""

    layer: LayerChunks
    above: tuple[str, ...]


def standings(manifest: Manifest | None) -> Mapping[str, Standing]:
    """The layers of a content by their names; none of no content."""
    layers = () if manifest is None else manifest.layers
    names = tuple(layer.name for layer in layers)
    return {layer.name: Standing(layer, names[at + 1 :]) for at, layer in enumerate(layers)}


def changed(policy: Policy | None, before: Mapping[str, Standing], after: Mapping[str, Standing]) -> tuple[str, ...]:
    """The layers that the policy covers and that `after` changes, in their order, those that are gone last."""
    if policy is None:
        return ()
    names = dict.fromkeys((*after, *before))
    return tuple(name for name in names if policy.covers(name) and before.get(name) != after.get(name))


def weighed(
    approval: Approval,
    layers: Collection[str],
    authors: Iterable[str],
    then: Mapping[str, Standing] | None,
    now: Mapping[str, Standing],
) -> Weighed:
    """Whether `approval` counts for a change of `layers` by `authors`.

    `then` is what was stable when it was given (None: not known any more), `now` what is.
    """
    why_not = None
    if any(person(author) == person(approval.by) for author in authors):
        why_not = "it is of somebody who wrote some of it"
    elif then is None:
        why_not = "what it was given against is not known any more"
    elif missing := [name for name in layers if name not in approval.layers]:
        why_not = f"it was not about {', '.join(missing)}"
    elif moved := [name for name in layers if then.get(name) != now.get(name)]:
        why_not = f"what is live has changed in {', '.join(moved)} since"
    return Weighed(approval=approval, counts=why_not is None, why_not=why_not)


def people(names: Iterable[str]) -> int:
    """How many people these are."""
    return len({person(name) for name in names})


def person(name: str) -> str:
    """Who is meant by a name: case, white space, how it is encoded and a mail address behind make nobody else."""
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return plain.partition(" <")[0] or plain


def joined(authors: Iterable[str], name: str) -> tuple[str, ...]:
    """`authors` and `name`, each person once."""
    known = tuple(authors)
    return known if any(person(one) == person(name) for one in known) else (*known, name)
