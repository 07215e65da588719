"""Approvals against a model: edits, approvals, policies and publications in any order, and at the same moment.

The law: what everybody runs never comes to differ in a layer that needs approval, unless enough people who wrote none
of it agreed to just that, or it was live before, or somebody broke the glass.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from herz.release.approval import Policy
from herz.server.audit import By
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.settings import ServerSettings
from herz.store.base import Put
from herz.store.plane import channel_key
from herz.testing.memory_store import MemoryStore

from .conftest import MovableClock, content

pytestmark = pytest.mark.slow

AT = ("pay", "default")
NAMES = ["ann", "ben", "cat", "dan"]
people = st.sampled_from(NAMES)
servers = st.sampled_from([0, 1])


class Text(NamedTuple):
    """What a content says in the layer that anybody may change, and in `guard` above it."""

    low: int
    guard: int

    @property
    def content(self):
        return content(f"a: {self.low}\n", guard=f"g: {self.guard}\n")


NOTHING = Text(-1, -1)
NONE_NEEDED: tuple[frozenset[str], int] = (frozenset(), 0)
texts = st.builds(Text, st.integers(0, 1), st.integers(0, 2))


class Made(NamedTuple):
    text: Text
    authors: frozenset[str]


class Agreed(NamedTuple):
    """That somebody agreed: to which change, from what was live to what would be."""

    before: Text
    layers: frozenset[str]


class InBetween(MemoryStore):
    """A store in which something else happens just before the channel is written."""

    meanwhile = None

    async def txn(self, txn):
        if self.meanwhile is not None and any(isinstance(one, Put) and one.key == channel_key(*AT) for one in txn.then):
            act, self.meanwhile = self.meanwhile, None
            await act()
        return await super().txn(txn)


class ApprovalMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.clock = MovableClock()
        self.store = InBetween(clock=self.clock.monotonic)
        other = MemoryStore(self.store.place, clock=self.clock.monotonic)
        self.planes = [Plane.over(one, ServerSettings(), self.clock) for one in (self.store, other)]
        self.draft: Made | None = None
        self.releases: list[Made] = []
        self.live: int | None = None
        self.was_live: set[int] = set()
        self.policy: tuple[frozenset[str], int] = NONE_NEEDED
        self.agreed: dict[Text, dict[str, Agreed]] = {}
        self.forced = 0
        self.ask(0, ("guard",), 1)
        self.write(0, Text(0, 0), "dan")
        self.pass_round(1, "ann")
        self.release_at_once("dan")

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.close()

    def do(self, call):
        """What `call` answers, or the kind of the problem that it met."""
        try:
            return self.runner.run(call)
        except Problem as problem:
            return problem.kind

    # --- what the model says

    def stable(self):
        return NOTHING if self.live is None else self.releases[self.live - 1].text

    def needs(self, text, number=None):
        """The layers of `text` that need approval now."""
        if number in self.was_live:
            return frozenset()
        before = self.stable()
        layers = {name for name in Text._fields if getattr(before, name) != getattr(text, name)}
        covered, _ = self.policy
        return frozenset(layers & covered)

    def counting(self, made, number=None):
        layers = self.needs(made.text, number)
        before = self.stable()
        return {
            name
            for name, one in self.agreed.get(made.text, {}).items()
            if name not in made.authors
            and layers <= one.layers
            and all(getattr(one.before, layer) == getattr(before, layer) for layer in layers)
        }

    def approved(self, made, number=None):
        return not self.needs(made.text, number) or len(self.counting(made, number)) >= self.policy[1]

    def pointed(self, number):
        self.live = number
        self.was_live.add(number)

    # --- what people do

    @rule(server=servers, text=texts, name=people)
    def write(self, server, text, name):
        self.do(self.planes[server].desk.drafts.write(*AT, text.content, by=By(name), expect=None))
        self.wrote(text, name)

    def wrote(self, text, name):
        nobodys = self.draft is None or self.draft.text == self.stable()
        others = frozenset() if self.draft is None or nobodys else self.draft.authors
        self.draft = Made(text, others | {name})

    @rule(server=servers, name=people)
    def throw_away(self, server, name):
        self.do(self.planes[server].desk.drafts.delete(*AT, by=By(name)))
        self.draft = None

    @rule(
        server=servers,
        layers=st.sampled_from([("guard",), ("*",), ("application", "guard"), ("other",)]),
        count=st.integers(1, 2),
    )
    def ask(self, server, layers, count):
        self.do(self.planes[server].desk.policies.put(*AT, Policy(layers=layers, approvals=count), by=By("root")))
        self.asked(layers, count)

    def asked(self, layers, count):
        covered = {"low" if name == "application" else name for name in layers}
        self.policy = (frozenset(Text._fields if "*" in covered else covered), count)

    @rule(server=servers)
    def ask_no_more(self, server):
        answer = self.do(self.planes[server].desk.policies.delete(*AT, by=By("root")))
        assert (answer == "not-found") == (self.policy == NONE_NEEDED)
        self.policy = NONE_NEEDED

    def number(self, data):
        """A release's number, or None for the draft."""
        numbers = [None] if self.draft is not None else []
        return data.draw(st.sampled_from([*numbers, *range(1, len(self.releases) + 1)]))

    @precondition(lambda self: self.draft is not None or self.releases)
    @rule(server=servers, name=people, data=st.data())
    def approve(self, server, name, data):
        self.approve_it(server, name, self.number(data))

    def approve_it(self, server, name, number):
        made = self.draft if number is None else self.releases[number - 1]
        assert made is not None
        approvals = self.planes[server].desk.approvals
        state = self.do(approvals.state(*AT, number))
        answer = self.do(approvals.give(*AT, number, digest=state.digest, by=By(name)))
        layers = self.needs(made.text, number)
        if not layers:
            assert answer == "approval-unneeded"
        elif name in made.authors:
            assert answer == "own-work"
        else:
            assert name in answer.approved_by
            self.agreed.setdefault(made.text, {})[name] = Agreed(self.stable(), layers)

    @precondition(lambda self: self.draft is not None)
    @rule(server=servers, name=people)
    def pass_round(self, server, name):
        """Somebody writes, and all others approve it: by chance alone that is rare."""
        assert self.draft is not None
        self.write(server, Text(self.draft.text.low, (self.draft.text.guard + 1) % 3), name)
        for other in NAMES:
            self.approve_it(server, other, None)

    @precondition(lambda self: any(self.agreed.values()))
    @rule(server=servers, data=st.data())
    def withdraw(self, server, data):
        text, name = data.draw(
            st.sampled_from(sorted((text, name) for text, names in self.agreed.items() for name in names))
        )
        self.do(self.taking_back(server, text, name))
        self.agreed[text].pop(name)

    async def taking_back(self, server, text, name):
        digest = await self.planes[server].contents.write(text.content)
        await self.planes[server].desk.approvals.withdraw(*AT, digest, by=By(name))

    # --- what becomes live

    @precondition(lambda self: self.draft is not None)
    @rule(name=people, force=st.booleans(), data=st.data())
    def release(self, name, force, data):
        self.release_at_once(name, force, self.in_between(data))

    def release_at_once(self, name, force=False, meanwhile=None):
        answer = self.do(self.planes[0].desk.create(*AT, by=By(name), message="go", force=force))
        self.happened(meanwhile)
        draft = self.draft
        assert draft is not None
        if self.judged(answer, draft, None, force):
            self.releases.append(draft)
            self.pointed(len(self.releases))
            self.draft = Made(draft.text, frozenset())

    @rule(server=servers, name=people)
    def release_dormant(self, server, name):
        answer = self.do(self.planes[server].desk.create(*AT, by=By(name), message="go", publish=False))
        if self.draft is None:
            assert answer == "not-found"
        else:
            self.releases.append(self.draft)

    @precondition(lambda self: self.releases)
    @rule(name=people, force=st.booleans(), data=st.data())
    def publish(self, name, force, data):
        to = data.draw(st.integers(1, len(self.releases)))
        self.publish_at_once(name, to, force, self.in_between(data))

    def publish_at_once(self, name, to, force, meanwhile):
        answer = self.do(self.planes[0].desk.publish(*AT, to, by=By(name), message="now", force=force))
        self.happened(meanwhile)
        if self.judged(answer, self.releases[to - 1], to, force):
            self.pointed(to)

    @precondition(lambda self: self.releases)
    @rule(name=people, data=st.data())
    def rollback(self, name, data):
        to = data.draw(st.integers(1, len(self.releases)))
        self.rollback_at_once(name, to, self.in_between(data))

    def rollback_at_once(self, name, to, meanwhile):
        answer = self.do(self.planes[0].desk.rollback(*AT, to, by=By(name), message="back"))
        self.happened(meanwhile)
        if self.judged(answer, self.releases[to - 1], to, False):
            self.pointed(to)
            self.draft = Made(self.releases[to - 1].text, frozenset())

    @precondition(lambda self: self.draft is not None)
    @rule(name=people, other=people, how=st.sampled_from(["release", "publish", "rollback"]), data=st.data())
    def publish_what_others_agreed_to(self, name, other, how, data):
        self.pass_round(1, name)
        if how == "release":
            self.release_at_once(other, False, self.in_between(data))
            return
        self.release_dormant(0, other)
        if how == "publish":
            self.publish_at_once(other, len(self.releases), False, self.in_between(data))
        else:
            self.rollback_at_once(other, len(self.releases), self.in_between(data))

    def judged(self, answer, made, number, force):
        """Whether it became live, as it must."""
        allowed = self.approved(made, number)
        assert (answer == "approval-needed") == (not allowed and not force)
        self.forced += force and not allowed
        return allowed or force

    def in_between(self, data):
        """Something that another server does just before the channel is written; how the model does it, later."""
        acts = ["nothing", "ask", "ask no more", "move"]
        acts += ["edit"] if self.draft is not None else []
        acts += ["withdraw", "nobody agrees any more"] if any(self.agreed.values()) else []
        act = data.draw(st.sampled_from(acts), label="meanwhile")
        desk = self.planes[1].desk
        if act == "ask":
            count = data.draw(st.integers(1, 2))
            return self.arranged(
                lambda: desk.policies.put(*AT, Policy(layers=("*",), approvals=count), by=By("root")),
                lambda: self.asked(("*",), count),
            )
        if act == "ask no more" and self.policy != NONE_NEEDED:
            return self.arranged(
                lambda: desk.policies.delete(*AT, by=By("root")), lambda: setattr(self, "policy", NONE_NEEDED)
            )
        if act == "edit":
            text, name = data.draw(texts), data.draw(people)
            return self.arranged(
                lambda: desk.drafts.write(*AT, text.content, by=By(name), expect=None), lambda: self.wrote(text, name)
            )
        if act == "withdraw":
            text, name = data.draw(
                st.sampled_from(sorted((text, name) for text, names in self.agreed.items() for name in names))
            )
            return self.arranged(lambda: self.taking_back(1, text, name), lambda: self.agreed[text].pop(name))
        if act == "nobody agrees any more":
            every = [(text, name) for text, names in self.agreed.items() for name in names]

            async def take_all_back():
                for text, name in every:
                    await self.taking_back(1, text, name)

            return self.arranged(take_all_back, self.agreed.clear)
        if act == "move" and self.was_live:
            to = data.draw(st.sampled_from(sorted(self.was_live)))
            return self.arranged(
                lambda: desk.publish(*AT, to, by=By("dan"), message="quicker"), lambda: self.pointed(to)
            )
        return None

    def arranged(self, act, model):
        self.store.meanwhile = act
        return model

    def happened(self, model):
        if model is not None and self.store.meanwhile is None:
            model()
        self.store.meanwhile = None

    # --- what must hold

    @invariant()
    def everybody_runs_what_the_model_says(self):
        for plane in self.planes:
            pointer = self.do(plane.desk.channel(*AT))[0].stable.release
            assert (None if pointer is None else pointer.number) == self.live

    @invariant()
    def the_state_that_is_told_is_what_publishing_goes_by(self):
        things: list[tuple[int | None, Made | None]] = [(None, self.draft), *enumerate(self.releases, 1)]
        for number, made in things:
            if made is None:
                continue
            state = self.do(self.planes[1].desk.approvals.state(*AT, number))
            assert state.needed == bool(self.needs(made.text, number))
            assert state.ok == self.approved(made, number)
            assert set(state.authors) == made.authors
            if state.needed:
                assert set(state.approved_by) == self.counting(made, number)

    @invariant()
    def the_log_is_loud_as_often_as_the_glass_was_broken(self):
        entries = self.do(self.planes[1].audit.entries(limit=500))
        assert sum(one.forced for one in entries) == self.forced


ApprovalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestApprovals = ApprovalMachine.TestCase
