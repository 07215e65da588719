"""Mutants: each breaks one of the safeguards of a watch on purpose, and some test or bench case must notice.

The sources are copied, one text is replaced, and the cheapest check that should fail is run on the copy in a process of
its own. Each check is run on the unchanged copy as well, where it must pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 150.0
BENCH = """
import sys
from herz.testing.fault_bench import bench
bench.Stage.until.__defaults__ = (12.0,)  # a mutant that never settles need not be waited for so long
from herz.testing.fault_bench.run import main
sys.exit(main(sys.argv[1:]))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * LIMIT_S)]


@dataclass(frozen=True)
class Check:
    """Something that fails on a mutant: tests (arguments of pytest), or a case of the fault bench."""

    name: str
    arguments: tuple[str, ...]
    bench: bool = False

    def run(self, source: Path) -> subprocess.CompletedProcess[str]:
        pytest_ = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-o", f"pythonpath={source}"]
        command = [sys.executable, *(["-c", BENCH] if self.bench else pytest_), *self.arguments]
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )


def checked_by(path: str, *, k: str) -> Check:
    return Check(f"{Path(path).stem} -k '{k}'", (f"tests/{path}", "-k", k))


def case(number: int, *, events: int = 200, seed: int = 1) -> Check:
    return Check(
        f"case {number}", ("--case", str(number), "--events", str(events), "--seed", str(seed), "--json"), bench=True
    )


SESSION = "watch/test_session_faults.py"
CUT = checked_by(SESSION, k="stream_was_cut")
COMPACTED = checked_by(SESSION, k="compaction_in_the_gap")
OVERTAKEN = checked_by(SESSION, k="overtaken or compacted_beyond")
BEHIND = checked_by(SESSION, k="went_back")
REPLAYED = checked_by(SESSION, k="replayed")
SILENT = checked_by(SESSION, k="given_up_for_another")
EMPTIED = checked_by(SESSION, k="deleted_whole")
CORE = checked_by("watch/test_session_core.py", k="test")
WIRE = checked_by("faults/test_etcd_watch_faults.py", k="test")
CONTINUITY = checked_by("faults/test_etcd_watch_faults.py", k="version or never_handed_on or another_creation")
LOST = checked_by("faults/test_etcd_watch_faults.py", k="lost_on_the_way")
IDENTITY = checked_by("faults/test_etcd_watch_faults.py", k="another_store")
RESUME = checked_by("etcd/test_etcd_watch.py", k="stopped_gracefully")
LEADERLESS = checked_by("etcd/test_etcd_watch.py", k="without_a_leader")
MUTE = checked_by("faults/test_etcd_watch_faults.py", k="says_nothing_more")
SWALLOWED = checked_by("etcd/test_etcd_watch.py", k="compaction_swallows")
FRAGMENTS = checked_by("etcd/test_etcd_watch.py", k="fragment or comes_again")
REGISTRATION = checked_by("discovery/test_discovery_registration.py", k="deadline or without_time or before_the_server")
REFUSED_WATCH = checked_by("discovery/test_discovery_watch.py", k="refused_watch")
REFUSED = checked_by("app/test_refused_revisions.py", k="test")
LAST_GOOD = checked_by("app/test_last_good_check.py", k="damage")


@dataclass(frozen=True)
class Mutant:
    """`before` in `file` becomes `after`, and `check` must fail."""

    name: str
    file: str
    before: str
    after: str
    check: Check


MUTANTS = [
    # --- where a watch begins
    Mutant(
        "resume-without-plus-one",
        "store/etcd/watch.py",
        "self.create_request(WATCH_ID, self._revisions.cursor + 1)",
        "self.create_request(WATCH_ID, self._revisions.cursor)",
        RESUME,
    ),
    Mutant(
        "resume-one-too-late",
        "store/etcd/watch.py",
        "self.create_request(WATCH_ID, self._revisions.cursor + 1)",
        "self.create_request(WATCH_ID, self._revisions.cursor + 2)",
        RESUME,
    ),
    Mutant(
        "resume-at-now",
        "sources/store.py",
        "async with self.store.watch(self.prefix, after, previous=self._previous) as changes:",
        "async with self.store.watch("
        "self.prefix, (await self.store.status()).revision, previous=self._previous) as changes:",
        CUT,
    ),
    Mutant(
        "cursor-committed-before-apply",
        "app/updater.py",
        "        feed, item = self._items.popleft()\n",
        "        feed, item = self._items.popleft()\n"
        '        feed.accepted = getattr(item, "document", feed.accepted)\n',
        REFUSED,
    ),
    # --- what a response may hold
    Mutant(
        "fragments-ignored",
        "store/etcd/whole.py",
        "self._held = groups.pop() if self.partial and groups else []",
        "self._held = []",
        FRAGMENTS,
    ),
    Mutant(
        "fragment-flag-ignored",
        "store/etcd/whole.py",
        "self.partial = response.fragment",
        "self.partial = False",
        FRAGMENTS,
    ),
    Mutant("older-revisions-taken", "store/etcd/whole.py", "if at <= revision:", "if False:", FRAGMENTS),
    Mutant("older-revisions-taken-live", "store/etcd/whole.py", "if at <= revision:", "if False:", WIRE),
    Mutant("canceled-ignored", "store/etcd/watch.py", "if not response.canceled:", "if True:", WIRE),
    Mutant("compaction-answer-ignored", "store/etcd/watch.py", "if response.compact_revision:", "if False:", WIRE),
    Mutant(
        "continuity-check-skipped",
        "sources/store.py",
        "        if changes.revision <= self._document.revision:\n",
        "        return\n        if changes.revision <= self._document.revision:\n",
        REPLAYED,
    ),
    Mutant("version-check-skipped", "store/continuity.py", "if entry.version != version + 1:", "if False:", CONTINUITY),
    Mutant("creation-check-skipped", "store/continuity.py", "entry.create_revision != created", "False", CONTINUITY),
    Mutant("deletion-of-nothing-taken", "store/continuity.py", "if held is None else None", "if False else None", LOST),
    Mutant(
        "prev-kv-check-skipped",
        "store/continuity.py",
        "if previous is not None and previous != held:",
        "if False:",
        CONTINUITY,
    ),
    Mutant(
        "services-without-continuity",
        "discovery/source.py",
        "if (reason := gap(event, held, revision)) is not None:",
        "if (reason := None) is not None:",
        checked_by("discovery/test_discovery_watch.py", k="lost_on_the_way"),
    ),
    Mutant(
        "foreign-keys-taken",
        "sources/store.py",
        "if not entry.key.startswith(self.prefix):",
        "if False:",
        checked_by(SESSION, k="outside_the_prefix"),
    ),
    # --- whether the store tells the same story
    Mutant(
        "digest-check-skipped",
        "sources/store.py",
        "        known = self._content.known\n        for entry in entries:\n",
        "        return None\n        known = self._content.known\n        for entry in entries:\n",
        OVERTAKEN,
    ),
    Mutant(
        "standing-check-skipped",
        "watch/session.py",
        "if self._remote is None or not self._verify:",
        "if True:",
        OVERTAKEN,
    ),
    Mutant(
        "revision-behind-taken",
        "watch/core.py",
        "if standing.revision < after or standing.matches is False:",
        "if standing.matches is False:",
        CORE,
    ),
    Mutant("epoch-not-advanced", "watch/session.py", "self._new_epoch = True", "self._new_epoch = False", BEHIND),
    Mutant("identity-ignored", "sources/store.py", "identity != self._identity", "False", IDENTITY),
    Mutant(
        "deletes-not-found-by-a-full-read",
        "sources/keyed.py",
        "{key: None for key in (*self._held, *self._waiting) if key not in now}",
        "{}",
        COMPACTED,
    ),
    # --- proof
    Mutant("hasleader-dropped", "store/etcd/client.py", '(("hasleader", "true"),)', "()", LEADERLESS),
    Mutant(
        "proof-deadline-dropped",
        "watch/session.py",
        "Patience(self._core.proof_s)",
        "Patience(None)",
        SILENT,
    ),
    Mutant(
        "proof-deadline-of-the-stream-dropped",
        "store/etcd/watch.py",
        "        limit_s = self._proof_s / 2\n        while True:\n",
        "        limit_s = 1e6\n        while True:\n",
        MUTE,
    ),
    Mutant(
        "read-at-the-cursor-dropped",
        "store/etcd/watch.py",
        '        await self.call("KV.Range", request)\n',
        "        del request\n",
        SWALLOWED,
    ),
    # --- trying again
    Mutant(
        "jitter-dropped",
        "watch/backoff.py",
        "(2 ** min(retry, CAP_EXPONENT)) + random()",
        "(2 ** min(retry, CAP_EXPONENT))",
        CORE,
    ),
    Mutant(
        "full-jitter-at-the-cap-dropped",
        "watch/backoff.py",
        "float(2**CAP_EXPONENT) * random()",
        "float(2**CAP_EXPONENT)",
        case(8, events=60),
    ),
    Mutant("retries-forgotten-too-soon", "watch/core.py", ">= self.policy.healthy_s", ">= 0", CORE),
    # --- what is good stays
    Mutant(
        "last-good-checksum-ignored", "live/last_good.py", '!= f"sha256:{sha256(body).hexdigest()}"', "== 0", LAST_GOOD
    ),
    Mutant(
        "revisions-folded-while-one-is-refused",
        "app/updater.py",
        "refused = any(other.refused is not None for other in self.feeds)",
        "refused = False",
        REFUSED,
    ),
    Mutant(
        "a-late-revision-is-not-marked",
        "app/proposal.py",
        "_whole(feeds, composition, documents, at, late)",
        "_whole(feeds, composition, documents, at, False)",
        REFUSED,
    ),
    # --- leases
    Mutant(
        "lease-counted-from-the-answer",
        "discovery/claim.py",
        "lease.prolonged(ttl_s, sent_s, self._clock())",
        "lease.prolonged(ttl_s, self._clock(), self._clock())",
        REGISTRATION,
    ),
    Mutant("lease-without-time-taken", "discovery/lease.py", "if ttl_s <= 0:", "if False:", REGISTRATION),
    Mutant(
        "refused-watch-tried-blindly",
        "discovery/registry.py",
        "if self.source.refused is not None:",
        "if False:",
        REFUSED_WATCH,
    ),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("mutants") / "src"
    shutil.copytree(ROOT / "src", target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_the_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("check", [*dict.fromkeys(mutant.check for mutant in MUTANTS)], ids=lambda check: check.name)
def test_what_kills_mutants_passes_without_one(check: Check, copied: Path) -> None:
    done = check.run(copied)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed(mutant: Mutant, copied: Path) -> None:
    file = copied / "herz" / mutant.file
    text = file.read_text(encoding="utf-8")
    assert mutant.before in text, f"{mutant.file} has changed: mend the mutant"
    file.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        done = mutant.check.run(copied)
    finally:
        file.write_text(text, encoding="utf-8")
    assert done.returncode == 1, (
        f"{mutant.name} survives {mutant.check.name}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
