"""What is observed of a namespace: its instances as the hub knows them, and what the store says when it is asked."""

from __future__ import annotations

from collections.abc import Iterator

from herz.release.channel import STABLE, Mailbox
from herz.release.member import Member
from herz.release.record import decode
from herz.server.hub import Namespace
from herz.store.base import Store
from herz.store.plane import channel_key, mailboxes_prefix


def members_of(namespace: Namespace) -> Iterator[Member]:
    """All instances of a namespace that report, or were put somewhere, by name."""
    for instance in sorted({*namespace.reports, *namespace.mailboxes}):
        mailbox = namespace.mailboxes.get(instance)
        report = namespace.reports.get(instance)
        yield Member(
            instance,
            STABLE if mailbox is None else mailbox.cohort,
            None if mailbox is None else mailbox.rollout,
            None if report is None else report.value,
        )


async def placed(store: Store, app: str, namespace: str) -> tuple[int, int, dict[str, Mailbox]]:
    """The revision, the channel's own, and all mailboxes of a namespace, as the store has them now."""
    mailboxes: dict[str, Mailbox] = {}
    prefix, after, revision = mailboxes_prefix(app, namespace), None, None
    while True:
        page = await store.range(prefix, after=after, revision=revision, limit=1_000)
        for entry in page.entries:
            instance, _, what = entry.key.removeprefix(prefix).partition("/")
            if what == "mailbox":
                mailboxes[instance] = decode(entry.value, Mailbox, f"{entry.key}@{entry.mod_revision}")
        revision = page.revision
        if not page.more:
            break
        after = page.entries[-1].key
    channel = await store.get(channel_key(app, namespace), revision=revision)
    return revision, 0 if channel is None else channel.mod_revision, mailboxes
