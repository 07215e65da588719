"""A loop that never pauses sees the flags change, and never a pair that was not written."""

from __future__ import annotations

import threading
import time
from collections import Counter


def test_a_hot_loop_sees_a_flag_at_once(app, folder):
    seen: Counter[bool] = Counter()
    stop = threading.Event()
    with app.herz:
        loop = threading.Thread(target=app.serve, args=(seen, stop))
        loop.start()
        try:
            deadline = time.monotonic() + 20
            while not seen[False]:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert not seen[True]
            (folder / "flags.yml").write_text("flags: {new-checkout: true, share: 0.5}\n")
            while not seen[True]:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        finally:
            stop.set()
            loop.join()


def test_a_share_that_is_none_is_refused(app, folder):
    with app.herz:
        (folder / "flags.yml").write_text("flags: {new-checkout: true, share: 5}\n")
        app.herz.wait_for(lambda _: app.herz.freshness == "REFUSED", 10)
        assert app.herz.get(app.Flags) == app.Flags(False, 0.1)
