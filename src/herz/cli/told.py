"""What the control plane says about keys and versions, in lines for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from herz.cli.output import paint, scalar, shown
from herz.client import DraftConflict, Publication
from herz.model.secret import MASK
from herz.release.channel import Release
from herz.release.content import Content
from herz.release.difference import KeyDifference

_SHORT = 8
_LONGEST = 300


def difference_line(one: KeyDifference) -> str:
    """A key that differs, with the place where its value was written."""
    place = one.after_at or one.before_at
    cause = f"  {paint(place, 'dim')}" if place else ""
    if one.added:
        return paint(f"+ {one.key}: {_cut(one.after)}", "green") + cause
    if one.removed:
        return paint(f"- {one.key}: {_cut(one.before)}", "red") + cause
    if one.before == one.after:  # masked, or written differently
        return f"{paint('~', 'yellow')} {one.key}: {_cut(one.before)}, differs" + cause
    return f"{paint('~', 'yellow')} {one.key}: {_cut(one.before)} → {_cut(one.after)}" + cause


def differences_text(found: Sequence[KeyDifference], otherwise: str = "no key differs") -> str:
    """Every key that differs, a line each."""
    return "\n".join(map(difference_line, found)) if found else otherwise


def conflict_text(error: DraftConflict) -> str:
    """Theirs and yours for each key of a conflict, below what both began from."""
    lines = []
    theirs = error.theirs
    who = ", ".join(str(theirs[name]) for name in ("author", "message") if theirs.get(name))
    if who:
        revision = f", revision {theirs['revision']}" if theirs.get("revision") else ""
        lines.append(f"theirs: {who}{revision}")
    for one in error.difference:
        lines.append(f"  {paint(str(one.get('key', '?')), 'bold')}")
        for side, colour in (("base", "dim"), ("theirs", "yellow"), ("yours", "green")):
            said = _side(one, side)
            place = one.get(f"{side}_at")
            lines.append(
                f"    {paint(f'{side:<6}', colour)} {said}" + (f"  {paint(str(place), 'dim')}" if place else "")
            )
    known = {one.get("key") for one in error.difference}
    others = [one for one in error.changed if one.get("key") not in known]
    if others:
        lines.append("changed besides by them" if known else "changed by them, while you changed other keys")
        lines += [f"  {difference_line(msgspec.convert(dict(one), KeyDifference))}" for one in others]
    return "\n".join(lines)


def _side(one: Mapping[str, Any], side: str) -> str:
    return "(none)" if one.get(side) is None else _cut(one[side])


def _cut(value: Any) -> str:
    """A value in a line that somebody can read."""
    text = shown(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def masking_told(content: Content) -> None:
    """Say beside a content that its secrets are masked, what is left out of it, and who sees all; to people."""
    if content.masked:
        left_out = ", ".join(layer.name for layer in content.layers if layer.withheld)
        said = f"secrets are masked ({MASK}): a token with the scope edit shows them"
        if left_out:
            said += f"; {left_out} cannot be masked, and is left out"
        print(paint(said, "yellow", sys.stderr), file=sys.stderr)


def masked_differences_told(found: Sequence[KeyDifference]) -> None:
    """Say beside differences that those of secrets are masked; to people."""
    if any(one.secret for one in found):
        said = f"secrets are masked ({MASK}) in comparisons, whatever the scope"
        print(paint(said, "dim", sys.stderr), file=sys.stderr)


def masked_schema_told(schema: Mapping[str, Any] | None) -> None:
    """Say beside a schema that what it says of secrets is masked; to people."""
    if MASK in msgspec.json.encode(schema).decode():
        said = f"what it says of secrets is masked ({MASK}): a token with the scope edit shows it"
        print(paint(said, "yellow", sys.stderr), file=sys.stderr)


def release_line(release: Release, *, live: bool = False) -> str:
    """A release in a few lines: number, message, who and when, what it is known by."""
    name = paint(f"release {release.number}", "bold")
    mark = f"  {paint('live', 'green')}" if live else ""
    facts = [f"fingerprint {short(release.fingerprint)}"]
    facts += [f"patch {release.patch_id}"] if release.patch_id else []
    facts += [f"commit {release.git_commit[:12]}"] if release.git_commit else []
    facts += [f"from {release.parent}"] if release.parent else []
    said = f"\n  {in_words(release.message)}" if release.message else ""
    made = paint(f"{moment(release.time)} by {who(release.author)}", "dim")
    return f"{name}{mark}  {made}{said}\n  {'  '.join(facts)}"


def publication_line(one: Publication) -> str:
    """When a release became live: who did it, with whose approval, and whether by force."""
    agreed = f", approved by {', '.join(map(who, one.approved_by))}" if one.approved_by else ""
    rollout = f", by rollout {one.rollout}" if one.rollout else ""
    forced = paint(", forced", "red") if one.forced else ""
    return f"live from {moment(one.time)} by {who(one.by)}{agreed}{rollout}{forced}"


def who(author: str) -> str:
    """A name without the address behind it."""
    return in_words(author.partition(" <")[0])


def in_words(text: str) -> str:
    """What somebody wrote, on one line and without what a terminal would obey."""
    return text if text.isprintable() else scalar(text)


def short(fingerprint: str | None) -> str:
    """A fingerprint or digest as tables show it."""
    return "–" if not fingerprint else fingerprint.removeprefix("sha256:")[:_SHORT]


def moment(time: datetime | None) -> str:
    """A time as the reader's clock has it."""
    return "–" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
