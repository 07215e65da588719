"""What a request makes of a session: when it gets another secret, and how long the one before is good. No store."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.server.door.session import Session, digest, id_in, new_cookie, shown, step
from herz.server.settings import ServerSettings

from .conftest import MovableClock

SETTINGS = ServerSettings()
NOW = MovableClock().now()
ROTATE, GRACE, IDLE = SETTINGS.session_rotate_s, SETTINGS.session_grace_s, SETTINGS.session_idle_s


def after(seconds: float):
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def opened() -> tuple[Session, str]:
    return made()


def made() -> tuple[Session, str]:
    id, cookie = new_cookie()
    session = Session(
        id=id,
        user="ana",
        stamp="s",
        sha256=digest(cookie),
        created=NOW,
        seen=NOW,
        issued=NOW,
        expires=after(SETTINGS.session_s),
        way="password",
        rights="r",
    )
    return session, cookie


def stepped(session: Session, cookie: str, seconds: float, *, rights: str = "r", used: bool = True):
    return step(session, cookie, after(seconds), SETTINGS, rights, used=used)


def test_a_cookie_names_its_session_and_holds_256_random_bits():
    id, cookie = new_cookie()
    assert id_in(cookie) == id
    assert len(cookie.partition(".")[2]) == 43
    assert len({new_cookie()[1] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "cookie",
    ["", ".", "x" * 60, "../../x" + "." + "x" * 43, "0" * 16, "0" * 16 + "." + "x" * 44, "0" * 16 + "-" + "x" * 43],
)
def test_what_is_no_cookie_names_no_session(cookie):
    assert id_in(cookie) is None


def test_a_young_session_stays_as_it_is(opened):
    session, cookie = opened
    made = stepped(session, cookie, 60)
    assert (made.session, made.cookie) == (session, None)


def test_after_a_quarter_of_an_hour_there_is_another_secret(opened):
    session, cookie = opened
    made = stepped(session, cookie, ROTATE)
    assert made.cookie is not None
    assert made.cookie != cookie
    assert id_in(made.cookie) == session.id


def test_the_one_before_is_good_until_the_next_is_shown_and_a_moment_longer(opened):
    session, cookie = opened
    made = stepped(session, cookie, ROTATE)
    assert made.cookie is not None
    assert shown(made.session, cookie, after(ROTATE + 1000))
    used = stepped(made.session, made.cookie, ROTATE + 10).session
    assert shown(used, made.cookie, after(ROTATE + 10))
    assert shown(used, cookie, after(ROTATE + 10 + GRACE - 1))
    assert not shown(used, cookie, after(ROTATE + 10 + GRACE))


def test_a_second_tab_in_between_gets_no_third_secret(opened):
    session, cookie = opened
    first = stepped(session, cookie, ROTATE)
    second = stepped(first.session, cookie, ROTATE + 1)
    assert second.cookie is None
    assert second.session.pending == first.session.pending


def test_a_secret_that_never_arrived_is_replaced(opened):
    session, cookie = opened
    lost = stepped(session, cookie, ROTATE)
    again = stepped(lost.session, cookie, ROTATE + GRACE)
    assert again.cookie not in (None, lost.cookie)
    assert lost.cookie is not None
    assert not shown(again.session, lost.cookie, after(ROTATE + GRACE))


def test_other_rights_give_another_secret_at_once(opened):
    session, cookie = opened
    made = stepped(session, cookie, 1, rights="more")
    assert made.cookie is not None
    assert stepped(made.session, made.cookie, 2, rights="more").cookie is None


def test_a_session_that_is_used_is_not_idle_and_one_whose_page_asks_by_itself_is(opened):
    session, cookie = opened
    used = stepped(session, cookie, IDLE - 1).session
    open_ = stepped(session, cookie, IDLE - 1, used=False).session
    assert not used.ended(after(IDLE), SETTINGS)
    assert open_.ended(after(IDLE), SETTINGS)


def test_after_twelve_hours_it_ends_however_much_it_is_used(opened):
    session, cookie = opened
    for seconds in range(0, int(SETTINGS.session_s), 600):
        made = stepped(session, cookie, seconds)
        session, cookie = made.session, made.cookie or cookie
    assert not session.ended(after(SETTINGS.session_s - 1), SETTINGS)
    assert session.ended(after(SETTINGS.session_s), SETTINGS)


@given(
    st.lists(
        st.tuples(st.floats(0.1, 400), st.sampled_from(["keep", "lose"]), st.booleans()),
        max_size=60,
    )
)
def test_a_browser_that_keeps_what_it_gets_is_never_thrown_out_however_many_answers_are_lost(requests):
    session, jar = made()
    seconds = 0.0
    for wait, answer, used in requests:
        seconds += wait
        if session.ended(after(seconds), SETTINGS):
            return
        assert shown(session, jar, after(seconds))
        made_ = stepped(session, jar, seconds, used=used)
        session = made_.session
        if answer == "keep" and made_.cookie:
            jar = made_.cookie


@given(st.lists(st.tuples(st.floats(0.1, 400), st.booleans()), max_size=60))
def test_at_most_three_secrets_are_good_at_once(requests):
    session, jar = made()
    cookies, seconds = [jar], 0.0
    for wait, keep in requests:
        seconds += wait
        made_ = stepped(session, jar, seconds)
        session = made_.session
        if made_.cookie:
            cookies.append(made_.cookie)
            jar = made_.cookie if keep else jar
        assert sum(shown(session, one, after(seconds)) for one in cookies) <= 3
