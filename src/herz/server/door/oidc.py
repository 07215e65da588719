"""OpenID Connect: who a provider says that somebody is, proved to be said to us, now, and for this very login.

The code flow with PKCE, state and nonce. What the browser must bring back lies in a cookie of its own (`Flow`), so the
server keeps nothing about people who only clicked. The id token is taken when its signature is by a key that the
provider publishes now, and issuer, audience, time and nonce are right. authlib and joserfc judge it; requests go out by
`Outbound`, which speaks only https, or http to this machine, and bounds what it reads.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from herz.errors import HerzError, SourceUnavailable, UsageError
from herz.server.clock import Clock
from herz.server.door.user import Identity
from herz.server.problems import Problem
from herz.server.rollouts.outbound import Outbound, Reply, permitted
from herz.server.settings import Provider

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Signatures that only the provider can make; never `none`, nor one by the client's own secret."""
KEPT_S: Final = 3600.0
"""For how long what the provider publishes of itself is believed."""
FLOW_S: Final = 600.0
"""How long somebody may take to log in there."""
AWAY: Final = "oidc-away"
AWAY_S: Final = 3.0
"""For how long a provider that did not answer is not asked again: people click, and each would wait for it."""
_GROUPS: Final = 1000
_SUBJECT_LENGTH: Final = 255

R = TypeVar("R")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider publishes of itself (OpenID Connect Discovery, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ("openid",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)


class _Tokens(msgspec.Struct, frozen=True, kw_only=True):
    id_token: str
    access_token: str | None = None


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One login that was begun: what must come back with it, and where it leads."""

    state: str
    nonce: str
    verifier: str
    next: str
    begun: float


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for. `name` is None where it tells none."""

    identity: Identity
    name: str | None
    groups: tuple[str, ...]


class ProviderRefused(Problem):
    """A login by the provider came to nothing. `reason` is for the audit log."""

    def __init__(self, reason: str, what: str, remedy: str, *, status: int = 400) -> None:
        self.reason = reason
        super().__init__(status, "provider-refused", what, remedy=remedy)


class Oidc:
    """One provider, as this server knows it."""

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self.provider = provider
        self._clock = clock
        self._outbound = Outbound(limit_s=provider.timeout_s)
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._turn = asyncio.Lock()
        self._away: tuple[float, ProviderRefused] | None = None
        permitted(provider.issuer, "--oidc-issuer")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._outbound.close()

    async def begin(self, redirect_uri: str, next: str) -> tuple[str, Flow]:
        """Where to send the browser, and what it must bring back. `ProviderRefused` 502 when the provider is away."""
        metadata = await self._published()
        flow = Flow(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(32),
            next=next,
            begun=self._clock.now().timestamp(),
        )
        wanted = ["openid", *(one for one in ("profile", "groups") if one in metadata.scopes_supported)]
        if self.provider.name_claim == "email" and "email" in metadata.scopes_supported:
            wanted.append("email")
        url = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self.provider.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=wanted,
            state=flow.state,
            nonce=flow.nonce,
            code_challenge=create_s256_code_challenge(flow.verifier),
            code_challenge_method="S256",
        )
        return str(url), flow

    async def finish(self, flow: Flow, code: str, redirect_uri: str) -> Person:
        """Whom the provider vouches for; `ProviderRefused` where anything is not as it should be.

        That the state is the flow's own the caller has seen.
        """
        if not 0 <= self._clock.now().timestamp() - flow.begun <= FLOW_S:
            raise ProviderRefused("oidc-late", "logging in took too long", "begin again")
        metadata = await self._published()
        tokens = await self._tokens(metadata, flow, code, redirect_uri)
        claims = await self._claims(metadata, tokens, flow.nonce)
        subject = str(claims["sub"])
        if not 0 < len(subject) <= _SUBJECT_LENGTH:
            raise ProviderRefused("oidc-token", "the provider gives no usable subject", "tell an admin")
        identity = Identity(issuer=metadata.issuer, subject=subject)
        wanted = {self.provider.name_claim, self.provider.groups_claim}
        if tokens.access_token and metadata.userinfo_endpoint and not wanted <= set(claims):
            claims = {**await self._userinfo(metadata.userinfo_endpoint, tokens.access_token, identity), **claims}
        name = claims.get(self.provider.name_claim)
        return Person(identity, name if isinstance(name, str) else None, _groups(claims, self.provider.groups_claim))

    async def _tokens(self, metadata: Metadata, flow: Flow, code: str, redirect_uri: str) -> _Tokens:
        methods = metadata.token_endpoint_auth_methods_supported
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        auth = ClientAuth(
            self.provider.client_id,
            self.provider.client_secret or "",
            method if self.provider.client_secret else "none",
        )
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=flow.verifier
        )
        url, headers, body = auth.prepare("POST", metadata.token_endpoint, {"Accept": "application/json"}, body)
        reply = await self._asked(
            self._outbound.post(
                url, body.encode(), kind="application/x-www-form-urlencoded", headers=_without_kind(headers)
            )
        )
        if not reply.ok:
            said = _error_in(reply)
            raise ProviderRefused("oidc-code", f"the provider does not take the code: {said}", "begin again")
        return _read(reply, _Tokens, "the answer with the tokens")

    async def _claims(self, metadata: Metadata, tokens: _Tokens, nonce: str) -> dict[str, Any]:
        allowed = sorted(ALGORITHMS & set(metadata.id_token_signing_alg_values_supported))
        registry = JWSRegistry(algorithms=allowed, strict_check_header=False)
        try:
            try:
                token = jwt.decode(tokens.id_token, await self._key_set(metadata), registry=registry)
            except (InvalidKeyIdError, BadSignatureError):  # it may have new keys
                token = jwt.decode(tokens.id_token, await self._key_set(metadata, anew=True), registry=registry)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": metadata.issuer},
                    "aud": {"essential": True, "value": self.provider.client_id},
                    "sub": {"essential": True},
                    "nonce": {"essential": True, "value": nonce},
                },
                params={
                    "client_id": self.provider.client_id,
                    "nonce": nonce,
                    **({"access_token": tokens.access_token} if tokens.access_token else {}),
                },
            )
            claims.validate(now=int(self._clock.now().timestamp()), leeway=self.provider.skew_s)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            name = getattr(error, "error", None) or type(error).__name__
            raise ProviderRefused(
                "oidc-token", f"what the provider says of you cannot be trusted: {name}", "begin again; tell an admin"
            ) from error
        return dict(claims)

    async def _userinfo(self, url: str, access_token: str, identity: Identity) -> dict[str, Any]:
        reply = await self._asked(self._outbound.get(url, headers={"Authorization": f"Bearer {access_token}"}))
        if not reply.ok:
            raise ProviderRefused("oidc-userinfo", "the provider tells nothing of you", "begin again; tell an admin")
        found: dict[str, Any] = _read(reply, dict, "what it tells of you")
        if found.get("sub") != identity.subject:
            raise ProviderRefused("oidc-userinfo", "the provider tells of somebody else", "begin again; tell an admin")
        return found

    async def _published(self) -> Metadata:
        async with self._turn:
            now = self._clock.monotonic()
            if self._metadata is not None and now - self._metadata[0] < KEPT_S:
                return self._metadata[1]
            if self._away is not None and now - self._away[0] < AWAY_S:
                raise self._away[1].with_traceback(None)
            try:
                found = await self._discovered()
            except ProviderRefused as error:
                self._away = (self._clock.monotonic(), error)
                raise
            self._metadata, self._away = (now, found), None
            return found

    async def _discovered(self) -> Metadata:
        url = f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        reply = await self._asked(self._outbound.get(url))
        if not reply.ok:
            raise _away(f"it answers {reply.status} to the question for its configuration")
        found = _read(reply, Metadata, "its configuration")
        if found.issuer != self.provider.issuer:
            raise ProviderRefused(
                "oidc-issuer",
                f"the provider calls itself {found.issuer[:200]}, not {self.provider.issuer}",
                "an admin must give --oidc-issuer exactly so",
                status=502,
            )
        try:
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
                if getattr(found, name) is not None:
                    permitted(getattr(found, name), name)
        except UsageError as error:
            raise _away(str(error)) from error
        return found

    async def _key_set(self, metadata: Metadata, *, anew: bool = False) -> KeySet:
        now = self._clock.monotonic()
        if self._keys is not None and now - self._keys[0] < KEPT_S and not anew:
            return self._keys[1]
        reply = await self._asked(self._outbound.get(metadata.jwks_uri))
        if not reply.ok:
            raise _away(f"it answers {reply.status} to the question for its keys")
        found: dict[str, Any] = _read(reply, dict, "its keys")
        keys = KeySet.import_key_set({"keys": [one for one in found.get("keys", []) if _usable(one)]})
        self._keys = (now, keys)
        return keys

    async def _asked(self, request: Any) -> Reply:
        try:
            reply: Reply = await request
        except SourceUnavailable as error:
            raise _away(error.what) from error
        except HerzError as error:
            raise _away(str(error)) from error
        return reply


def _usable(key: object) -> bool:
    """Whether a published key is for signatures that we know: encryption keys and odd ones are passed over."""
    return isinstance(key, dict) and key.get("use", "sig") == "sig" and key.get("kty") in ("RSA", "EC", "OKP")


def _groups(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    found = claims.get(name)
    groups = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return tuple(sorted({one for one in groups if isinstance(one, str) and one and len(one) <= 256})[:_GROUPS])


def _read(reply: Reply, kind: type[R], what: str) -> R:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _away(f"{what} cannot be read") from error


def _error_in(reply: Reply) -> str:
    """The error code of an answer (RFC 6749, section 5.2), as far as it is a plain word."""
    try:
        said = msgspec.json.decode(reply.body).get("error", "")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        said = ""
    return said if isinstance(said, str) and said.isidentifier() and len(said) <= 64 else f"status {reply.status}"


def _without_kind(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in ("content-type", "content-length")}


def _away(why: str) -> ProviderRefused:
    return ProviderRefused(
        AWAY,
        f"the provider cannot be asked: {why}",
        "try again in a while; who has a password can log in with it meanwhile",
        status=502,
    )
