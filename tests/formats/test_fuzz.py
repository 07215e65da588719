"""Random and broken bytes: a decoder answers with a tree or an error of ours, in bounded time and memory."""

from __future__ import annotations

import os
import random
import resource
import time

import pytest

from herz.errors import DocumentMalformed
from herz.formats.decode import FORMATS, Decoded, Limits, decode, redecode

SECONDS = float(os.environ.get("FUZZ_SECONDS", "5"))
SAMPLES = {
    "yaml": (
        b"---\n# c\na: 1\nb:\n  - x: 'y'\n    z: \"\\u0041\"\n  - [1, {q: 2.5}]\n"
        b"c: &a |\n  text\nd: *a\ne: {<<: {f: 1}}\n? g\n: !!str 1\n"
    ),
    "json": b'{"a": 1, "b": {"c": [1.5, "x\\u0041", null, true], "d.e": 1e17},\n "f": -0.0}',
    "toml": (
        b'a = 1\n[b]\nc.d = """x\ny"""\n[[e]]\nf = {g = [1, 2.5], h = 2024-01-01T00:00:00Z}\n[[e]]\n"i.j" = \'k\'\n'
    ),
    "properties": b"# c\na.b=1\nc : \\u0041\\\n  more\nd[e.f] x\n!g\n",
    "dotenv": b"# c\nexport A__B='x'\nC=\"y\\n${D}\"\nE=\n",
}
TOKENS = [
    *b"{ } [ ] ( ) , : :: = == - -- --- ... ? ! !! & * % @ ` | > >- # ' \" ''' \"\"\" \\ \\u \\x \\n << ~".split(),
    *b". .. __ _ $ ${ + 0 1 9 1e9 1e999 0x 0b 1_0 true null inf nan a a.b a[ ] A__B".split(),
    *[b"\xc3\xa9", b"\xff", b"\xef\xbb\xbf", b"\x00", b"\x07", b"\xe2\x80\xa8"],
    *[b" ", b"\n", b"\r", b"\r\n", b"\t", b"  ", b"\n  ", b"a" * 300, b"[" * 50, b"- " * 50, b"9" * 400],
]
LIMITS = Limits(max_bytes=200_000, max_alias_nodes=10_000)


def broken(chance: random.Random, sample: bytes) -> bytes:
    data = bytearray(sample * chance.choice([1, 1, 1, 30]) if chance.random() < 0.8 else b"")
    for _ in range(chance.choice([1, 2, 5, 30])):
        at = chance.randrange(len(data) + 1)
        kind = chance.random()
        if kind < 0.6:
            data[at:at] = chance.choice(TOKENS) * chance.choice([1, 1, 1, 1, 100])
        elif kind < 0.8:
            del data[at : at + chance.randrange(20)]
        else:
            data[at : at + 1] = chance.randbytes(chance.randrange(4))
    return bytes(data)


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("format", FORMATS)
def test_random_bytes_give_a_tree_or_an_error_of_ours(format):
    chance = random.Random(os.environ.get("FUZZ_SEED", "1"))
    end = time.monotonic() + SECONDS / len(FORMATS)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous: Decoded | None = None
    slowest, slowest_data, rounds = 0.0, b"", 0
    while time.monotonic() < end:
        rounds += 1
        data = broken(chance, SAMPLES[format])
        if previous is not None and chance.random() < 0.5:
            data = broken(chance, previous.data)
        start = time.thread_time()
        problem: DocumentMalformed | None = None
        try:
            if previous is not None and chance.random() < 0.5:
                previous = redecode(previous, data)[0]
            else:
                previous = decode(data, format, name="fuzz", limits=LIMITS, yielding=chance.random() < 0.5)
            for path, line in previous.lines().items():
                assert path
                assert line >= 1
        except DocumentMalformed as error:
            problem = error
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} from {format}: {data!r}") from error
        assert problem is None or ((problem.where or "").startswith("fuzz") and problem.remedy)
        taken = time.thread_time() - start
        if taken > slowest:
            slowest, slowest_data = taken, data
    assert rounds > 0
    assert slowest < 10, f"{slowest:.1f} s for {len(slowest_data)} bytes of {format}: {slowest_data[:400]!r}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 512 * 1024, f"{grown} KiB more"
