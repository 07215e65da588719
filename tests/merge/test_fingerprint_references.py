"""The effective fingerprint covers no secret, not even one that a reference carried into another key."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from herz.errors import InterpolationError
from herz.merge.composition import Composition
from herz.merge.fingerprint import fingerprint_of
from herz.model.document import Document, Event
from herz.model.key import relaxed
from herz.model.layer import Layer
from herz.model.origin import Origin
from herz.model.secret import SecretKeys
from herz.model.tree import differences

from ..conftest import examples


def layer(tree: dict[str, Any], name: str = "app", rank: int = 0, **options: Any) -> Layer:
    return Layer(name, Document(Origin(f"{name}.yml"), 1, tree), rank, name, **options)


def effective(*trees: dict[str, Any], environment: dict[str, str] | None = None) -> str:
    layers = [layer(tree, f"layer{rank}", rank) for rank, tree in enumerate(trees)]
    return str(Composition.of(layers, environment=environment or {}).effective())


def database(password: str, user: str = "app") -> dict[str, Any]:
    return {"db": {"user": user, "password": password, "url": "pg://${db.user}:${db.password}@host"}}


def test_a_value_made_from_a_secret_does_not_show_the_secret() -> None:
    assert effective(database("hunter2")) == effective(database("correct horse"))


def test_it_counts_as_written_so_that_others_can_compute_it() -> None:
    assert effective(database("hunter2")) == fingerprint_of(database("hunter2"), SecretKeys())


def test_what_else_went_into_it_still_shows() -> None:
    assert effective(database("hunter2")) != effective(database("hunter2", "other"))


def test_a_secret_that_comes_by_two_references_or_in_a_list_does_not_show() -> None:
    def tree(password: str) -> dict[str, Any]:
        return {"password": password, "one": "${password}", "two": "x${one}", "all": ["${two}", 1]}

    assert effective(tree("hunter2")) == effective(tree("geheim"))


def test_references_to_what_is_no_secret_count_resolved() -> None:
    assert effective({"host": "a", "url": "http://${host}"}) == effective({"host": "a", "url": "http://a"})


def test_a_secret_of_the_environment_does_not_show() -> None:
    tree = {"url": "pg://${DB_PASSWORD}@host"}
    assert effective(tree, environment={"DB_PASSWORD": "a"}) == effective(tree, environment={"DB_PASSWORD": "b"})


def test_the_release_fingerprint_takes_the_reference_for_what_it_is() -> None:
    layers = [layer(database("hunter2"))]
    assert str(Composition.of(layers).release()) == effective(database("hunter2"))


def test_what_is_written_counts_even_where_it_amounts_to_the_same() -> None:
    before, after = {"a": "x", "password": "x", "url": "${a}${password}"}, {"a": "x", "password": "x"}
    composition = Composition.of([layer(before)])
    composition.effective()
    after["url"] = "${password}${a}"
    changed, _ = composition.evolved([layer(after)], 0, [Event(("url",), before["url"], after["url"])])
    assert str(changed.effective()) == effective(after) != effective(before)


NAMES = st.sampled_from(["a", "b", "password", "c"])
SCALARS = st.sampled_from([1, "x", None, True, "${a}", "${b:9}", "p${password:1}q", "${c.password:7}", "${c.a:7}"])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.dictionaries(NAMES, inner, max_size=4).map(
        lambda table: dict({relaxed(name): (name, value) for name, value in table.items()}.values())
    ),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


@settings(max_examples=examples(300))
@given(TREES, st.lists(TREES, min_size=1, max_size=3), st.booleans())
def test_following_changes_gives_what_computing_it_again_gives(base: Any, news: list[Any], local: bool) -> None:
    layers = [layer(base, "base"), layer(news[0], "top", 1, local=local)]
    try:
        composition = Composition.of(layers)
        composition.effective(), composition.release()
        for new in news[1:]:
            events = [Event(*difference) for difference in differences(layers[1].document.tree, new)]
            layers = [layers[0], layer(new, "top", 1, local=local)]
            composition, _ = composition.evolved(layers, 1, events)
            fresh = Composition.of(layers)
            assert str(composition.effective()) == str(fresh.effective())
            assert str(composition.release()) == str(fresh.release())
    except InterpolationError:
        return
