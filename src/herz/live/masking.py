"""Masking: what user code says of its failure, without the secrets it was given."""

from __future__ import annotations

from typing import Final

from herz.live.generation import Generation
from herz.live.providers import Provider
from herz.model.secret import MASK, Secret
from herz.model.tree import leaves

SHORTEST: Final = 4
"""Characters below which a secret is too common a text to be searched for."""


def masked(text: str, provider: Provider, generation: Generation) -> str:
    """`text` without the secret values of the models that `provider` is built from.

    The chained exception keeps its own text; whoever prints its traceback prints that.
    """
    hidden = generation.snapshot.composed.hidden
    for model in provider.models:
        one = generation.objects.bound.get(model)
        for path, value in () if one is None else leaves(one.bound.table, one.path):
            shown = hidden(path, value)
            for secret in shown if isinstance(shown, list) else [shown]:
                if isinstance(secret, Secret) and len(secret.reveal()) >= SHORTEST:
                    text = text.replace(secret.reveal(), MASK)
    return text
