"""Where two versions of a document differ, byte for byte."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Final, NamedTuple

_BLOCK: Final = 64 * 1024


class Edit(NamedTuple):
    """What differs between two versions: the old one from byte `start` to `end`, the new one from there to `stop`."""

    start: int
    end: int
    stop: int

    @classmethod
    def between(cls, old: bytes, new: bytes) -> Edit:
        """The shortest edit that makes `new` of `old`."""
        start = common_prefix(old, new)
        same = common_suffix(old, new, min(len(old), len(new)) - start)
        return cls(start, len(old) - same, len(new) - same)

    def keeps_text(self, old: bytes, new: bytes) -> bool:
        """Whether `new` is UTF-8, as `old` is: to be looked at are the characters that the edit touches."""
        start, end = self.start, self.end
        while start < len(old) and old[start] & 0xC0 == 0x80:  # within a character, whose first byte is before it
            start -= 1
        while end < len(old) and old[end] & 0xC0 == 0x80:
            end += 1
        stop = self.stop + end - self.end
        if (new if stop - start > _BLOCK else new[start:stop]).isascii():
            return True  # without copies of megabytes, which hold the GIL for milliseconds
        decoder, view = getincrementaldecoder("utf-8")(), memoryview(new)
        try:
            for at in range(start, stop, _BLOCK):
                decoder.decode(view[at : min(at + _BLOCK, stop)])
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True


def common_prefix(a: bytes, b: bytes) -> int:
    """How many bytes `a` and `b` begin alike: block by block, then by halving within the block that differs."""
    end = min(len(a), len(b))
    low, view = 0, memoryview(a)
    while low < end:
        high = min(low + _BLOCK, end)
        if not b.startswith(view[low:high], low):
            break
        low = high
    else:
        return end
    while high - low > 1:
        middle = (low + high) // 2
        if b.startswith(a[low:middle], low):
            low = middle
        else:
            high = middle
    return low


def common_suffix(a: bytes, b: bytes, limit: int) -> int:
    """How many bytes, at most `limit`, `a` and `b` end alike."""
    low, view = 0, memoryview(a)
    while low < limit:
        high = min(low + _BLOCK, limit)
        if not b.endswith(view[len(a) - high : len(a) - low], 0, len(b) - low):
            break
        low = high
    else:
        return limit
    while high - low > 1:
        middle = (low + high) // 2
        if b.endswith(a[len(a) - middle : len(a) - low], 0, len(b) - low):
            low = middle
        else:
            high = middle
    return low
