"""What a release says of its keys, as instances explain theirs: for naming both sides of a difference."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from herz.errors import HerzError
from herz.model.key import Path, join
from herz.model.tree import differences, leaves, thaw
from herz.release.channel import ReleaseRef
from herz.release.report import Explained
from herz.server.contents import Contents
from herz.server.reading import SECRETS, Reading, Readings
from herz.sources.released_report import text


class References:
    """Reads releases from the store's contents."""

    def __init__(self, contents: Contents, readings: Readings) -> None:
        self._contents, self._readings = contents, readings

    async def explained(
        self, app: str, namespace: str, release: ReleaseRef, others: Collection[str], most: int
    ) -> Mapping[str, Explained]:
        """At most `most` keys of the release, those first in which the contents `others` differ from it.

        Values as text, secrets masked; a value with a reference (`${…}`) is left out, for it means something else at
        each instance.
        """
        reading = await self._readings.of(await self._contents.read(release.digest))
        found: dict[str, Explained] = {}
        paths = [path for digest in sorted(others) for path in await self._differing(reading, digest)]
        for path, value in self._all(reading, paths):
            if len(found) >= most:
                break
            said = text(SECRETS.hidden(path, thaw(value)))
            if "${" not in said:
                place = reading.locate(path)
                layer, _, line = (place or "").partition(":")
                where = f"{app}/{namespace}:{layer}@{release.number}" + (f":{line}" if line else "")
                found[join(path)] = Explained(key=join(path), value=said, origin=where)
        return found

    async def _differing(self, reading: Reading, digest: str) -> list[Path]:
        try:
            other = await self._readings.of(await self._contents.read(digest))
        except HerzError:
            return []  # a content that this store never had
        return [path for path, _, _ in differences(other.tree, reading.tree)]

    def _all(self, reading: Reading, first: Collection[Path]) -> Iterator[tuple[Path, Any]]:
        known = dict(leaves(reading.tree))
        for path in first:
            if path in known:
                yield path, known.pop(path)
        yield from known.items()
