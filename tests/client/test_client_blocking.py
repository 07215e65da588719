"""The blocking twin has every method, and waits."""

from __future__ import annotations

import inspect

import pytest

from herz.client import ControlPlane, Namespace, NotThere
from herz.client.blocking import BlockingControlPlane, BlockingNamespace
from herz.errors import NotRunning
from herz.release.content import Content, LayerText


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("blocking", "asynchronous", "apart"),
    [(BlockingNamespace, Namespace, set()), (BlockingControlPlane, ControlPlane, {"close", "aclose", "blocking"})],
)
def test_the_twins_have_the_same_methods_with_the_same_parameters(blocking, asynchronous, apart):
    assert public(blocking) ^ public(asynchronous) == apart
    for name in public(blocking) & public(asynchronous):
        if callable(getattr(asynchronous, name)):
            ours, theirs = (inspect.signature(getattr(one, name)).parameters for one in (blocking, asynchronous))
            assert list(ours) == list(theirs)


def test_a_script_edits_releases_and_reads(server, app):
    with ControlPlane.blocking(server.url) as plane:
        pay = plane.namespace(app)
        pay.write_draft(Content(layers=(LayerText(name="pay.yml", text="pool: 5\n"),)))
        assert pay.release("first").number == 1
        assert pay.channel().stable.release is not None
        with pytest.raises(NotThere):
            pay.find_release(2)


async def test_it_works_where_a_loop_runs_already(server, app):
    with ControlPlane.blocking(server.url) as plane:
        assert plane.namespace(app).releases() == ()


def test_what_is_closed_says_so(server, app):
    plane = ControlPlane.blocking(server.url)
    with plane:
        pay = plane.namespace(app)
    plane.close()
    with pytest.raises(NotRunning):
        pay.releases()
