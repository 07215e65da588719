"""Secrets in files that others may read."""

from __future__ import annotations

import os
from collections.abc import Iterator

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.model.key import join
from herz.model.tree import leaves


def check(examination: Examination) -> Iterator[Finding]:
    """Each file that holds a literal secret and may be read by more than its owner."""
    secrets = examination.composition.secrets
    for layer in examination.composition.layers:
        if layer.local or layer.document.origin.kind != "file":
            continue
        found = sorted(
            join(path)
            for path, value in leaves(layer.document.tree)
            if secrets.holds(path) and isinstance(value, str) and value and "${" not in value
        )
        try:
            mode = os.stat(layer.document.origin.name).st_mode & 0o777
        except OSError:
            continue
        if found and mode & 0o077:
            yield Finding(
                "readable-secrets",
                "note",
                f"{', '.join(found[:5])}{' …' if len(found) > 5 else ''}: a secret stands here in plain text, and the "
                f"file's mode is {mode:o}",
                layer.document.origin.name,
                f"chmod 600 {layer.document.origin.name}, or refer to it: ${{DB_PASSWORD}}",
            )
