"""Roles: what each allows, whom they are bound to, and that somebody is always left who may everything."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from herz.errors import UsageError
from herz.server.access import Caller
from herz.server.audit import Audit
from herz.server.door.door import Door
from herz.server.door.rights import SCOPES, Binding, Bindings, Role
from herz.server.door.user import Identity
from herz.server.problems import Problem
from herz.server.tokens import Scope

from .conftest import BEN, PASSWORD, on_disk

ALLOWED = {
    Role.VIEWER: {Scope.READ},
    Role.EDITOR: {Scope.READ, Scope.EDIT},
    Role.RELEASER: {Scope.READ, Scope.EDIT, Scope.RELEASE, Scope.ROLLOUT},
    Role.APPROVER: {Scope.READ, Scope.APPROVE},
    Role.ADMIN: set(Scope),
}


def bindings(*written: str) -> Bindings:
    """As `ana=pay:editor`."""
    return Bindings().with_([Binding.parse(*one.split("=")) for one in written])


@pytest.mark.parametrize("role", list(Role))
def test_a_role_allows_what_it_is_for_and_nothing_else(role):
    caller = Caller("ana", bindings(f"ana=pay:{role}").grants("ana"))
    assert {scope for scope in Scope if caller.may(scope, "pay")} == ALLOWED[role]
    assert not any(caller.may(scope, "shop") for scope in Scope)
    assert not any(caller.may(scope, None) for scope in Scope)


def test_every_role_has_its_scopes():
    assert set(SCOPES) == set(Role)


def test_a_role_in_all_applications_holds_in_each():
    caller = Caller("ana", bindings("ana=*:editor").grants("ana"))
    assert caller.may(Scope.EDIT, "pay")
    assert caller.may(Scope.READ, None)


def test_roles_of_a_user_and_of_their_groups_add_up():
    found = bindings("ana=pay:viewer", "group:sre=shop:editor", "group:dev=*:admin", "eva=*:admin").grants(
        "ana", ["sre"]
    )
    caller = Caller("ana", found)
    assert caller.may(Scope.EDIT, "shop")
    assert caller.may(Scope.READ, "pay")
    assert not caller.may(Scope.EDIT, "pay")


def test_a_user_who_is_called_like_a_group_has_not_its_roles():
    assert bindings("group:sre=*:admin").grants("sre") == ()
    with pytest.raises(UsageError):
        Binding.parse("group:", "*:admin")


@pytest.mark.parametrize("text", ["", "pay", "pay:", ":viewer", "pay:root", "p/y:viewer", "pay:VIEWER", "**:viewer"])
def test_what_is_no_role_is_refused(text):
    with pytest.raises(UsageError):
        Binding.parse("ana", text)


@pytest.mark.parametrize(
    "subject", ["", "<b>", "a b", "x" * 129, "group:" + "x" * 257, "group:a\nb", "group:\u202e", "-x"]
)
def test_what_is_no_user_or_group_is_refused(subject):
    with pytest.raises(UsageError):
        Binding.parse(subject, "pay:viewer")


async def test_granting_and_revoking_are_in_the_audit_log(door, store, clock):
    await door.users.add("ana", by=BEN)
    role = Binding.parse("ana", "pay:editor")
    await door.users.grant(role, by=BEN)
    await door.users.grant(role, by=BEN)
    await door.users.revoke(role, by=BEN)
    entries = await Audit(store, clock).entries()
    assert [(entry.action, entry.target) for entry in entries] == [
        ("user.created", "user ana"),
        ("role.granted", "user ana"),
        ("role.revoked", "user ana"),
    ]
    assert entries[1].details == {"role": "editor", "app": "pay"}


async def test_a_role_that_nobody_has_is_not_revoked(door):
    await door.users.add("ana", by=BEN)
    await refused(door.users.revoke(Binding.parse("ana", "pay:editor"), by=BEN), 404)


async def test_nobody_is_given_a_role_ahead_of_time(door):
    await refused(door.users.grant(Binding.parse("ana", "*:admin"), by=BEN), 404)


async def test_a_removed_user_leaves_no_role_to_the_next_of_that_name(door):
    await door.users.add("ana", by=BEN, roles=[Binding.parse("ana", "pay:editor")])
    await door.users.remove("ana", by=BEN)
    await door.users.add("ana", by=BEN)
    assert (await door.rights.read())[0].of("ana") == ()


# --- the last admin


async def refused(call, status):
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.status == status
    return caught.value


ADMIN = [Binding.parse("ana", "*:admin")]


@pytest.fixture
async def admin(door) -> Door:
    await door.users.add("ana", by=BEN, password=PASSWORD, roles=ADMIN)
    return door


async def test_the_last_admin_is_neither_removed_nor_disabled_nor_revoked(admin):
    for deed in (
        admin.users.remove("ana", by=BEN),
        admin.users.disable("ana", by=BEN),
        admin.users.revoke(*ADMIN, by=BEN),
    ):
        assert (await refused(deed, 409)).kind == "last-admin"


async def test_force_does_it_and_the_audit_log_says_so(admin, store, clock):
    await admin.users.disable("ana", by=BEN, force=True)
    assert (await Audit(store, clock).entries())[-1].forced


@pytest.mark.parametrize("other", ["invited", "disabled", "of one application"])
async def test_who_cannot_come_in_or_may_not_everything_is_no_other_admin(admin, other):
    role = "pay:admin" if other == "of one application" else "*:admin"
    password = None if other == "invited" else PASSWORD
    await admin.users.add("eva", by=BEN, password=password, roles=[Binding.parse("eva", role)])
    if other == "disabled":
        await admin.users.disable("eva", by=BEN)
    await refused(admin.users.remove("ana", by=BEN), 409)


async def test_an_admin_by_a_group_of_the_provider_is_another_admin(admin):
    identity = Identity(issuer="https://login.example", subject="1")
    await admin.users.add("eva", by=BEN, identity=identity, groups=["sre"])
    await admin.users.grant(Binding.parse("group:sre", "*:admin"), by=BEN)
    await admin.users.remove("ana", by=BEN)
    await refused(admin.users.revoke(Binding.parse("group:sre", "*:admin"), by=BEN), 409)


@on_disk
@pytest.mark.parametrize(
    "deeds", [("disable", "disable"), ("disable", "remove"), ("remove", "disable"), ("remove", "remove")]
)
async def test_two_admins_at_two_servers_cannot_shut_each_other_out_at_once(admin, store, clock, settings, deeds):
    await admin.users.add("eva", by=BEN, password=PASSWORD, roles=[Binding.parse("eva", "*:admin")])
    other = Door.over(store, Audit(store, clock), clock, settings)
    done = await asyncio.gather(
        getattr(admin.users, deeds[0])("ana", by=BEN),
        getattr(other.users, deeds[1])("eva", by=BEN),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, Problem) for one in done) == [False, True]


@on_disk
async def test_twenty_changes_of_rights_at_once_are_all_made(door, store, clock, settings):
    await door.users.add("ana", by=BEN)
    other = Door.over(store, Audit(store, clock), clock, settings)
    roles = [Binding.parse("ana", f"app-{number}:viewer") for number in range(20)]
    at = [door, other]
    await asyncio.gather(*(at[number % 2].users.grant(role, by=BEN) for number, role in enumerate(roles)))
    assert set((await door.rights.read())[0].bindings) == set(roles)


# --- users


async def test_a_name_is_given_once_and_in_small_letters(door):
    assert (await door.users.add("Ana", by=BEN)).name == "ana"
    assert (await refused(door.users.add("ANA", by=BEN), 409)).kind == "name-taken"


@on_disk
async def test_two_who_take_a_name_at_once_do_not_both_have_it(door):
    done = await asyncio.gather(*(door.users.add("ana", by=BEN) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Problem) for one in done) == 4


@pytest.mark.parametrize(
    "name", ["", "a b", "<script>", "\u202eana", "a\x00b", "x" * 129, "a/b", "*", "group:a", "ünal", ".."]
)
async def test_what_is_no_name_of_a_user_is_refused(door, name):
    with pytest.raises(UsageError):
        await door.users.add(name, by=BEN)
    assert await door.users.find(name) is None


async def test_an_identity_belongs_to_one_user(door):
    identity = Identity(issuer="https://login.example", subject="1")
    await door.users.add("ana", by=BEN, identity=identity)
    await refused(door.users.add("eva", by=BEN, identity=identity), 409)
    found = await door.users.known_as(identity)
    assert found is not None
    assert found[0].name == "ana"


def test_identities_do_not_run_into_each_other():
    one, other = Identity(issuer="https://a", subject="b/c"), Identity(issuer="https://a/b", subject="c")
    assert one.digest != other.digest


async def test_a_user_prints_without_the_hash(door):
    user = await door.users.add("ana", by=BEN, password=PASSWORD)
    assert "argon2" not in repr(user)


async def test_a_hash_grows_with_the_parameters_at_the_next_login(door, store, clock, settings):
    await door.users.add("ana", by=BEN, password=PASSWORD)
    stronger = Door.over(store, Audit(store, clock), clock, dataclasses.replace(settings, argon2=(64, 2, 1)))
    await stronger.logins.login("ana", PASSWORD, address="127.0.0.1", agent="")
    user, _ = await door.users.get("ana")
    assert user.hash is not None
    assert "m=64,t=2,p=1" in user.hash
    assert await door.passwords.verify(user.hash, PASSWORD)
