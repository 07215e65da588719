"""Where two versions of a document differ, byte for byte."""

from __future__ import annotations

from typing import Final

_BLOCK: Final = 64 * 1024


def common_prefix(a: bytes, b: bytes) -> int:
    """How many bytes `a` and `b` begin alike: block by block, then by halving within the block that differs."""
    end = min(len(a), len(b))
    low = 0
    while low < end:
        high = min(low + _BLOCK, end)
        if not b.startswith(a[low:high], low):
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
    low = 0
    while low < limit:
        high = min(low + _BLOCK, limit)
        if not b.endswith(a[len(a) - high : len(a) - low], 0, len(b) - low):
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
