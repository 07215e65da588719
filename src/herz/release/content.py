"""What a release holds: layers of text, addressed by what they say and kept in chunks that any store takes.

The digest of a content is `sha256:<hex>` over the JSON of its manifest, which names each layer's chunks by their own
digests, so that whoever fetched it can prove that nothing is missing or changed. A layer is cut every 512 KiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from herz.errors import HistoryBroken, UsageError
from herz.release.record import Record, encode

CHUNK_BYTES: Final = 512 * 1024
"""No value in a store is larger."""
CONTENT_BYTES: Final = 64 * 1024 * 1024
"""What one content may hold."""
DIMENSIONS: Final = ("infrastructure", "policy", "tenant", "feature", "application")
"""What a layer is about. A layer without one is the application's own."""

Format: TypeAlias = Literal["yaml", "json", "toml", "properties", "env"]


class LayerText(Record, frozen=True, kw_only=True):
    """One layer as it was written. Layers are merged in their order, the last one wins.

    `withheld`: its text is not told to whoever may not see secrets, for none of it could be masked.
    """

    name: str
    text: str
    format: Format = "yaml"
    dimension: str = "application"
    withheld: bool = False


class Content(Record, frozen=True, kw_only=True):
    """All layers of a namespace, lowest rank first.

    `masked`: secrets are left out (`••••`), so it is not what its digest addresses, and can neither be written nor run.
    """

    layers: tuple[LayerText, ...] = ()
    masked: bool = False


class LayerChunks(Record, frozen=True, kw_only=True):
    """One layer of a manifest: its chunks in order, by their hex digests."""

    name: str
    format: Format
    dimension: str
    bytes: int
    chunks: tuple[str, ...]


class Manifest(Record, frozen=True, kw_only=True):
    """What a content is made of."""

    layers: tuple[LayerChunks, ...] = ()

    @property
    def digest(self) -> str:
        """The address of the content."""
        return f"sha256:{sha256(encode(self)).hexdigest()}"


def digest_of(content: Content) -> str:
    """The address of `content`."""
    return packed(content)[0].digest


def packed(content: Content) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of `content` and its chunks by their digests; `UsageError` when it is too large or ambiguous."""
    layers: list[LayerChunks] = []
    chunks: dict[str, bytes] = {}
    size = 0
    for layer in content.layers:
        if any(known.name == layer.name for known in layers):
            raise UsageError(f"two layers are called {layer.name!r}", remedy="give each a name of its own")
        data = layer.text.encode()
        size += len(data)
        cut = list(_cut(data))
        chunks.update(cut)
        layers.append(
            LayerChunks(
                name=layer.name,
                format=layer.format,
                dimension=layer.dimension,
                bytes=len(data),
                chunks=tuple(name for name, _ in cut),
            )
        )
    if size > CONTENT_BYTES:
        raise UsageError(
            f"a content of {size:,} bytes, at most {CONTENT_BYTES:,} are taken", remedy="split the namespace"
        )
    return Manifest(layers=tuple(layers)), chunks


def unpacked(manifest: Manifest, chunks: Mapping[str, bytes], where: str) -> Content:
    """The content of `manifest`; `HistoryBroken` when a chunk is missing or is not what its digest says."""
    layers: list[LayerText] = []
    for layer in manifest.layers:
        for name in layer.chunks:
            if name not in chunks or sha256(chunks[name]).hexdigest() != name:
                raise HistoryBroken(
                    f"chunk {name[:12]} of layer {layer.name!r} is {'damaged' if name in chunks else 'missing'}",
                    where=where,
                    remedy="release the content anew, or restore the store from a backup",
                )
        text = b"".join(chunks[name] for name in layer.chunks).decode()
        layers.append(LayerText(name=layer.name, text=text, format=layer.format, dimension=layer.dimension))
    return Content(layers=tuple(layers))


def _cut(data: bytes) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        yield sha256(chunk).hexdigest(), chunk
