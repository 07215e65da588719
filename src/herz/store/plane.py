"""Where the control plane keeps everything in a revisioned store: `herz serve` and clients that follow it directly.

* `/herz/live/<app>/<namespace>/all/channel`, `…/all/asks`: what every instance follows.
* `/herz/live/<app>/<namespace>/to/<instance>/mailbox`: what one instance follows besides.
* `/herz/fleet/<app>/<namespace>/<instance>`: its report, under a lease; `/herz/answers/…/<nonce>/<instance>`.
* `/herz/apps/<app>/<namespace>/…`: draft, schema, policy, approvals, counter and releases, when which was stable;
  `/herz/rollouts/…`, and who took part in each: `/herz/rosters/…`.
* `/herz/content/<digest>`, `/herz/chunks/<digest>`, `/herz/graphs/<digest>`: addressed by what they hold.
* `/herz/alerts/…`: what people are still to be told.
* `/herz/audit/…`, `/herz/tokens/…`, `/herz/duties/…`: who did what, who may, and who does what must happen once.
* `/herz/users/…`, `/herz/identities/…`, `/herz/roles`: people, how their provider knows them, and what they may.
* `/herz/sessions/…`, `/herz/invitations/…`: who is logged in, and who is asked to come in.

Instances' rights can be given by prefix: they read `live`, `content` and `chunks`, and write `fleet`, `answers` and
`graphs`. Names are checked before they come in here, so that none can lead elsewhere.
"""

from __future__ import annotations

import re
from typing import Final

from herz.errors import UsageError

ROOT: Final = "/herz/"
CHUNKS: Final = ROOT + "chunks/"
CONTENT: Final = ROOT + "content/"
GRAPHS: Final = ROOT + "graphs/"
APPS: Final = ROOT + "apps/"
LIVE: Final = ROOT + "live/"
FLEET: Final = ROOT + "fleet/"
ANSWERS: Final = ROOT + "answers/"
ROLLOUTS: Final = ROOT + "rollouts/"
ROSTERS: Final = ROOT + "rosters/"
ALERTS: Final = ROOT + "alerts/"
AUDIT: Final = ROOT + "audit/"
TOKENS: Final = ROOT + "tokens/"
DUTIES: Final = ROOT + "duties/"
USERS: Final = ROOT + "users/"
IDENTITIES: Final = ROOT + "identities/"
ROLES: Final = ROOT + "roles"
SESSIONS: Final = ROOT + "sessions/"
INVITATIONS: Final = ROOT + "invitations/"

DEFAULT_NAMESPACE: Final = "default"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_USER: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,252}")


def checked_name(name: str, what: str) -> str:
    """`name` itself; `UsageError` unless it is a plain name (of an application, namespace, rollout)."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of {what}", remedy="use letters, digits, dots, dashes, underscores")
    return name


def checked_user(name: str) -> str:
    """`name` in small letters; `UsageError` unless it is the name of a user."""
    small = name.lower() if len(name) <= 128 else ""
    if not _USER.fullmatch(small):
        shown = name if len(name) <= 128 else f"{name[:20]}…"
        raise UsageError(
            f"{shown!r} is not the name of a user",
            remedy="use letters of English, digits, and . _ @ + - behind the first",
        )
    return small


def is_instance(name: str) -> bool:
    """Whether this can be the name of an instance."""
    return _INSTANCE.fullmatch(name) is not None


def checked_instance(instance: str) -> str:
    """`instance` itself; `UsageError` unless it is the name of an instance."""
    if not is_instance(instance):
        raise UsageError(
            f"{instance!r} is not the name of an instance", remedy="use letters, digits, and . _ : @ - behind the first"
        )
    return instance


def user_key(name: str) -> str:
    """One user."""
    return USERS + checked_user(name)


def session_key(id: str) -> str:
    """One session, by its id."""
    return SESSIONS + checked_name(id, "a session")


def invitation_key(id: str) -> str:
    """One invitation, by the first digits of its code's digest."""
    return INVITATIONS + checked_name(id, "an invitation")


def identity_key(digest: str) -> str:
    """The user whom a provider knows by an issuer and a subject of this digest."""
    return IDENTITIES + checked_name(digest, "an identity")


def place(app: str, namespace: str) -> str:
    """`<app>/<namespace>`, both checked."""
    return f"{checked_name(app, 'an application')}/{checked_name(namespace, 'a namespace')}"


def all_prefix(app: str, namespace: str) -> str:
    """What every instance of a namespace follows."""
    return f"{LIVE}{place(app, namespace)}/all/"


def channel_key(app: str, namespace: str) -> str:
    """The channel: all pointers of the namespace."""
    return all_prefix(app, namespace) + "channel"


def asks_key(app: str, namespace: str) -> str:
    """The questions that stand."""
    return all_prefix(app, namespace) + "asks"


def mailboxes_prefix(app: str, namespace: str) -> str:
    """The mailboxes of all instances."""
    return f"{LIVE}{place(app, namespace)}/to/"


def mailbox_prefix(app: str, namespace: str, instance: str) -> str:
    """What one instance follows besides; ends with a slash, so that no other name begins with it."""
    return f"{mailboxes_prefix(app, namespace)}{checked_instance(instance)}/"


def mailbox_key(app: str, namespace: str, instance: str) -> str:
    """The mailbox of one instance."""
    return mailbox_prefix(app, namespace, instance) + "mailbox"


def fleet_prefix(app: str, namespace: str) -> str:
    """The reports of a namespace."""
    return f"{FLEET}{place(app, namespace)}/"


def report_key(app: str, namespace: str, instance: str) -> str:
    """The report of one instance."""
    return fleet_prefix(app, namespace) + checked_instance(instance)


def answers_prefix(app: str, namespace: str, nonce: str) -> str:
    """The answers to one question."""
    return f"{ANSWERS}{place(app, namespace)}/{checked_name(nonce, 'a question')}/"


def answer_key(app: str, namespace: str, nonce: str, instance: str) -> str:
    """One instance's answer."""
    return answers_prefix(app, namespace, nonce) + checked_instance(instance)


def namespace_prefix(app: str, namespace: str) -> str:
    """Draft, schema and releases of a namespace."""
    return f"{APPS}{place(app, namespace)}/"


def draft_key(app: str, namespace: str) -> str:
    """The draft."""
    return namespace_prefix(app, namespace) + "draft"


def schema_key(app: str, namespace: str) -> str:
    """The JSON Schema that drafts are validated with."""
    return namespace_prefix(app, namespace) + "schema"


def policy_key(app: str, namespace: str) -> str:
    """What must be approved before it is live."""
    return namespace_prefix(app, namespace) + "policy"


def approvals_key(app: str, namespace: str, digest: str) -> str:
    """Who has approved a content, by its address."""
    return f"{namespace_prefix(app, namespace)}approvals/{checked_name(digest.removeprefix('sha256:'), 'a content')}"


def publications_prefix(app: str, namespace: str, number: int) -> str:
    """When a release became stable, as often as it did."""
    return f"{namespace_prefix(app, namespace)}published/{number:010d}/"


def publication_key(app: str, namespace: str, number: int, milliseconds: int) -> str:
    """One time that a release became stable, in order."""
    return f"{publications_prefix(app, namespace, number)}{milliseconds:016d}"


def counter_key(app: str, namespace: str) -> str:
    """The number of the newest release."""
    return namespace_prefix(app, namespace) + "newest"


def releases_prefix(app: str, namespace: str) -> str:
    """All releases, in the order of their numbers."""
    return namespace_prefix(app, namespace) + "releases/"


def release_key(app: str, namespace: str, number: int) -> str:
    """One release."""
    return f"{releases_prefix(app, namespace)}{number:010d}"


def rollouts_prefix(app: str, namespace: str) -> str:
    """The rollouts of a namespace."""
    return f"{ROLLOUTS}{place(app, namespace)}/"


def rollout_key(app: str, namespace: str, rollout: str) -> str:
    """One rollout."""
    return rollouts_prefix(app, namespace) + checked_name(rollout, "a rollout")


def roster_key(app: str, namespace: str, rollout: str) -> str:
    """Who took part in a rollout. Not below the rollout itself: whoever follows rollouts is not told of it."""
    return f"{ROSTERS}{place(app, namespace)}/{checked_name(rollout, 'a rollout')}"


def rollout_counter_key(app: str, namespace: str) -> str:
    """The number of the newest rollout; it is the one in flight until its record says that it is over."""
    return namespace_prefix(app, namespace) + "rollouts"


def content_key(digest: str) -> str:
    """A manifest, by the address of its content."""
    return CONTENT + checked_name(digest.removeprefix("sha256:"), "a content")


def chunk_key(digest: str) -> str:
    """A chunk, by its hex digest."""
    return CHUNKS + checked_name(digest, "a chunk")


def graph_key(digest: str) -> str:
    """A dependency graph, by its digest."""
    return GRAPHS + checked_name(digest.removeprefix("sha256:"), "a graph")
