"""The API of the audit log and of tokens: for those who may everything."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from herz.release.record import Record
from herz.server.access import Caller, requires
from herz.server.audit import AuditEntry, Verified, parse_anchor
from herz.server.plane import Plane
from herz.server.problems import answers
from herz.server.tokens import Grant, Scope, Token

_LAST: Final = 10**15
After = Annotated[int, QueryParameter(ge=0, le=_LAST, description="Only entries above this number")]
Anchor = Annotated[
    str | None,
    QueryParameter(description="`NUMBER:HASH`, a head that was kept elsewhere: the log must still hold it"),
]
Limit = Annotated[int, QueryParameter(ge=1, le=500, description="At most so many")]


Written = Annotated[
    str,
    Meta(
        pattern=rf"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}):({'|'.join(Scope)})$",
        description="`APPLICATION:SCOPE`, `*:SCOPE`",
    ),
]


class TokenBody(Record, frozen=True, kw_only=True):
    """Whose token, what it may do (`pay:release`, `*:read`), and until when."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    grants: Annotated[tuple[Written, ...], Meta(min_length=1, max_length=1000)]
    expires: datetime | None = None


class TokenShown(Record, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    name: str
    grants: tuple[str, ...]
    created: datetime
    expires: datetime | None = None

    @classmethod
    def of(cls, token: Token) -> TokenShown:
        """What may be shown of `token`."""
        return cls(
            id=token.id,
            name=token.name,
            grants=tuple(map(str, token.grants)),
            created=token.created,
            expires=token.expires,
        )


class TokenCreated(Record, frozen=True, kw_only=True):
    """A new token: its text is told this once."""

    token: str
    id: str
    name: str
    grants: tuple[str, ...]
    created: datetime
    expires: datetime | None = None


@get("/audit", guards=[requires(Scope.ADMIN)], responses=answers(422), summary="The audit log", tags=["audit"])
async def audit(plane: NamedDependency[Plane], after: After = 0, limit: Limit = 100) -> tuple[AuditEntry, ...]:
    """Who did what, in order; page on with `after` set to the last number."""
    return await plane.audit.entries(after, limit)


@get(
    "/audit/verify",
    guards=[requires(Scope.ADMIN)],
    responses=answers(),
    summary="Whether the audit log is whole",
    tags=["audit"],
)
async def audit_verify(plane: NamedDependency[Plane], anchor: Anchor = None) -> Verified:
    """The chain is computed anew; `broken_at` is the first entry that does not hold."""
    return await plane.audit.verify(None if anchor is None else parse_anchor(anchor))


@get("/tokens", guards=[requires(Scope.ADMIN)], responses=answers(), summary="Tokens", tags=["tokens"])
async def tokens(plane: NamedDependency[Plane]) -> tuple[TokenShown, ...]:
    """All tokens, without what they are; expired ones too."""
    return tuple(map(TokenShown.of, await plane.tokens.all()))


@post("/tokens", guards=[requires(Scope.ADMIN)], responses=answers(507), summary="A new token", tags=["tokens"])
async def create_token(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], data: JSONBody[TokenBody]
) -> TokenCreated:
    """Its text is in the answer, and nowhere else."""
    text, token = await plane.tokens.create(
        data.name, [Grant.parse(grant) for grant in data.grants], by=caller.by, expires=data.expires
    )
    shown = TokenShown.of(token)
    return TokenCreated(
        token=text, id=shown.id, name=shown.name, grants=shown.grants, created=shown.created, expires=shown.expires
    )


@delete(
    "/tokens/{id:str}",
    guards=[requires(Scope.ADMIN)],
    responses=answers(404, 507),
    summary="Revoke a token",
    tags=["tokens"],
)
async def revoke_token(plane: NamedDependency[Plane], caller: NamedDependency[Caller], id: FromPath[str]) -> None:
    """Nobody gets in with it any more; other servers believe it for a second at most."""
    await plane.tokens.revoke(id, by=caller.by)
    plane.access.forget(id)


HANDLERS: Final = (audit, audit_verify, tokens, create_token, revoke_token)
