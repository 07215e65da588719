"""Instances of services, and how they are written in a store: `/herz/services/<service>/<instance>`, as JSON.

    {"address": "10.0.0.7:8080", "weight": 2, "metadata": {"zone": "a"}, "owner": "5f0c…"}

Fields that are not known are left alone, so that later versions may add some. Metadata is read by everybody who
may look a service up: it is no place for secrets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from immutables import Map

from herz.errors import DocumentMalformed, UsageError
from herz.model.document import Revision
from herz.store.base import Entry

ROOT: Final = "/herz/services/"
"""The prefix of all services."""

WEIGHT_MAX: Final = 1e6
ADDRESS_MAX: Final = 1024

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service as one revision describes it; it never changes.

    `weight` is its share of the traffic, relative to the other instances of the service: 0 keeps it registered and
    takes it out of the traffic. `owner` names the registration that wrote it. `joined` is the revision at which it
    joined, `revision` the one that last changed it; both 0 before it is registered.
    """

    service: str
    name: str
    address: str
    weight: float = 1.0
    metadata: Mapping[str, str] = field(default_factory=Map)
    owner: str = ""
    joined: Revision = 0
    revision: Revision = 0

    def same_as(self, other: Instance) -> bool:
        """Whether both say the same about the same stay, whichever revisions wrote them."""
        return self._meaning() == other._meaning()

    def _meaning(self) -> tuple[Any, ...]:
        return self.service, self.name, self.address, self.weight, self.metadata, self.owner, self.joined


def checked_name(name: str, what: str) -> str:
    """`name` itself; `UsageError` when it is not a plain name, so that no key lies outside its service."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of {what}",
            remedy="use up to 128 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    return name


def service_prefix(service: str | None, root: str = ROOT) -> str:
    """The prefix of one service's instances; of all services without one."""
    return root if service is None else f"{root}{checked_name(service, 'a service')}/"


def instance_key(service: str, name: str, root: str = ROOT) -> str:
    """Where an instance is registered."""
    return service_prefix(service, root) + checked_name(name, "an instance")


def checked(instance: Instance) -> Instance:
    """`instance` itself; `UsageError` when it cannot be registered as it is."""
    checked_name(instance.service, "a service")
    checked_name(instance.name, "an instance")
    if (fault := _fault(instance.address, instance.weight, instance.metadata)) is not None:
        raise UsageError(f"{instance.service}/{instance.name}: {fault}", remedy="give another one")
    _, scheme, rest = instance.address.partition("://")
    if scheme and "@" in rest.partition("/")[0]:
        raise UsageError(
            f"{instance.service}/{instance.name}: the address holds credentials, which everybody could read",
            remedy="leave them out and give them to the callers as secrets",
        )
    return instance


def encoded(instance: Instance) -> bytes:
    """The value that is stored for an instance."""
    value = {"address": instance.address, "weight": instance.weight, "metadata": dict(instance.metadata)}
    return json.dumps({**value, "owner": instance.owner}, ensure_ascii=False, sort_keys=True).encode()


def decoded(entry: Entry, root: str = ROOT) -> Instance:
    """The instance that an entry describes; `DocumentMalformed` with the key when it describes none."""
    service, _, name = entry.key.removeprefix(root).partition("/")
    if not (_NAME.fullmatch(service) and _NAME.fullmatch(name)):
        raise _malformed(entry, "not a key of the form <service>/<instance>")
    try:
        value = json.loads(entry.value, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _malformed(entry, "not JSON") from error
    if not isinstance(value, dict):
        raise _malformed(entry, "not a JSON object")
    address: Any = value.get("address")
    weight, metadata, owner = value.get("weight", 1.0), value.get("metadata", {}), value.get("owner", "")
    if (fault := _fault(address, weight, metadata)) is not None:
        raise _malformed(entry, fault)
    if not isinstance(owner, str):
        raise _malformed(entry, "the owner is not text")
    return Instance(
        service, name, address, float(weight), Map(metadata), owner, entry.create_revision, entry.mod_revision
    )


def _fault(address: object, weight: object, metadata: object) -> str | None:
    """What is wrong with the parts of an instance, if anything."""
    if not isinstance(address, str) or not 0 < len(address) <= ADDRESS_MAX:
        return f"the address is not a text of 1 to {ADDRESS_MAX} characters"
    if not address.isprintable() or " " in address:
        return "the address holds blanks or characters that do not print"
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return "the weight is not a number"
    if not (math.isfinite(weight) and 0 <= weight <= WEIGHT_MAX):
        return f"the weight is not a number from 0 to {WEIGHT_MAX:g}"
    if not isinstance(metadata, Mapping) or not all(isinstance(t, str) for kv in metadata.items() for t in kv):
        return "the metadata are not texts by name"
    return None


def _malformed(entry: Entry, what: str) -> DocumentMalformed:
    return DocumentMalformed(what, where=f"{entry.key}@{entry.mod_revision}", remedy="delete the key or register anew")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
