"""The desk against a model: any order of edits, releases, rollbacks and publications by two servers, seen from both."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from herz.server.contents import Contents
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.settings import ServerSettings
from herz.testing.memory_store import MemoryStore

from ..conftest import examples
from .conftest import BEN, MovableClock, content

AT = ("pay", "default")
texts = st.integers(0, 5).map(lambda number: f"a: {number}\n")
servers = st.sampled_from([0, 1])


class DeskMachine(RuleBasedStateMachine):
    """`draft` is (text, revision), `releases` their texts in order, `live` the number that everybody runs."""

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.clock = MovableClock()
        self.store = MemoryStore(clock=self.clock.monotonic)
        other = MemoryStore(self.store.place, clock=self.clock.monotonic)
        self.planes = [Plane.over(one, ServerSettings(collect_after_s=10.0), self.clock) for one in (self.store, other)]
        self.draft: tuple[str, int] | None = None
        self.seen: list[int] = [0]
        self.releases: list[str] = []
        self.live: int | None = None
        self.acts = 0

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.close()

    def do(self, call):
        """What `call` answers, or the status of the problem that it met."""
        try:
            return self.runner.run(call)
        except Problem as problem:
            return problem.status

    @rule(server=servers, text=texts)
    def write(self, server, text):
        expect = 0 if self.draft is None else self.draft[1]
        made = self.do(self.planes[server].desk.drafts.write(*AT, content(text), by=BEN, expect=expect))
        self.drafted(text, made.revision)

    @rule(server=servers, text=texts, data=st.data())
    def write_late(self, server, text, data):
        expect = data.draw(st.sampled_from(self.seen))
        answer = self.do(self.planes[server].desk.drafts.write(*AT, content(text), by=BEN, expect=expect))
        if expect == (0 if self.draft is None else self.draft[1]):
            self.drafted(text, answer.revision)
        else:
            assert answer == 409

    @rule(server=servers, number=st.integers(6, 9))
    def set_key(self, server, number):
        before = self.draft[0] if self.draft else self.releases[self.live - 1] if self.live else ""
        made = self.do(self.planes[server].desk.drafts.set(*AT, {"b": number}, by=BEN))
        self.drafted(
            "".join(line for line in before.splitlines(True) if line[0] != "b") + f"b: {number}\n", made.revision
        )

    @rule(server=servers)
    def throw_away(self, server):
        answer = self.do(self.planes[server].desk.drafts.delete(*AT, by=BEN))
        assert answer == (404 if self.draft is None else None)
        self.acts += self.draft is not None
        self.draft = None

    @rule(server=servers, publish=st.booleans())
    def release(self, server, publish):
        made = self.do(self.planes[server].desk.create(*AT, by=BEN, message="go", publish=publish))
        if self.draft is None:
            assert made == 404
            return
        self.releases.append(self.draft[0])
        assert made.number == len(self.releases)
        self.live = made.number if publish else self.live
        self.drafted(self.draft[0], self.revision())

    @precondition(lambda self: self.releases)
    @rule(server=servers, data=st.data())
    def rollback(self, server, data):
        to = data.draw(st.integers(1, len(self.releases)))
        moved = self.do(self.planes[server].desk.rollback(*AT, to, by=BEN, message="back"))
        self.live = to
        self.drafted(self.releases[to - 1], moved.revision)

    @precondition(lambda self: self.releases)
    @rule(server=servers, data=st.data())
    def publish(self, server, data):
        to = data.draw(st.integers(1, len(self.releases)))
        self.do(self.planes[server].desk.publish(*AT, to, by=BEN, message="now"))
        self.live = to
        self.acts += 1

    @rule(server=servers, seconds=st.sampled_from([0, 5, 11]))
    def collect(self, server, seconds):
        self.clock.seconds += seconds
        self.do(self.planes[server].contents.collect())

    def revision(self):
        return self.do(self.store.status()).revision

    def drafted(self, text, revision):
        self.acts += 1
        self.draft = (text, revision)
        self.seen.append(revision)

    @invariant()
    def both_servers_tell_what_the_model_says(self):
        for plane in self.planes:
            desk = plane.desk
            found = self.do(desk.drafts.get(*AT))
            if self.draft is None:
                assert found == 404
            else:
                assert (found.content.layers[0].text, found.revision) == self.draft
            listed = self.do(desk.releases(*AT, limit=500))
            assert [one.number for one in listed] == list(range(len(self.releases), 0, -1))
            pointer = self.do(desk.channel(*AT))[0].stable.release
            assert (None if pointer is None else pointer.number) == self.live

    @invariant()
    def every_release_is_whole_in_the_store_itself(self):
        fresh = Contents(self.store, self.clock, 10.0)
        for one in self.do(self.planes[0].desk.releases(*AT, limit=500)):
            assert self.do(fresh.read(one.digest)) == content(self.releases[one.number - 1])

    @invariant()
    def every_act_and_nothing_else_is_in_the_audit_log(self):
        verified = self.do(self.planes[1].audit.verify())
        assert (verified.ok, verified.entries) == (True, self.acts)


DeskMachine.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=25, deadline=None)
TestDesk = DeskMachine.TestCase
