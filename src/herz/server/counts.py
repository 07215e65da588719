"""What the delivery has counted since the server started."""

from __future__ import annotations

from collections import Counter


class Counts:
    """Plain numbers that the metrics are made from when somebody asks for them."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self.frame_bytes: Counter[str] = Counter()
        self.cut_off = 0
        """Streams that took nothing for too long."""
        self.batches = 0
        self.batch_writes = 0
        """Reports and answers that the batches held."""
        self.refused: Counter[str] = Counter()
        """Reports and answers that were not taken, by the reason."""
        self.asks: Counter[str] = Counter()
        """Questions asked by this server, by their kind."""

    def pushed(self, kind: str, size: int, times: int = 1) -> None:
        """A frame was written to `times` streams."""
        self.frames[kind] += times
        self.frame_bytes[kind] += size * times
