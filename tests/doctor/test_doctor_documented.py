"""Every kind of finding is documented, and nothing else is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import herz.cli.doctor
from herz.tls.material import CODES

ROOT = Path(__file__).parents[2]


def _codes() -> set[str]:
    """The first argument of each `Finding(…)`, the second of each `finding_of(…)`, all their constants."""
    found: set[str] = set()
    for path in Path(herz.cli.doctor.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                position = {"Finding": 0, "finding_of": 1}.get(node.func.id)
                if position is not None and len(node.args) > position:
                    found |= {
                        one.value
                        for one in ast.walk(node.args[position])
                        if isinstance(one, ast.Constant) and isinstance(one.value, str)
                    }
    return found | {"reference", "malformed-option"} | CODES  # chosen by the kind of error, told by the TLS guard


def test_every_code_stands_in_the_table_of_findings():
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "doctor.md").read_text(), re.MULTILINE))
    assert documented == _codes()
