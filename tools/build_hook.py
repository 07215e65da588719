"""What a build of Herz does first: the scripts of the console's pages, when they are missing or stale.

A wheel, an editable install and an sdist all hold them; one that is built from an sdist finds them there, and needs
neither node nor npm.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def load_tool() -> Any:
    """tools/assets.py, which lies beside this file and in no package."""
    spec = importlib.util.spec_from_file_location("herz_tools_assets", Path(__file__).with_name("assets.py"))
    assert spec is not None  # noqa: S101 - a path that ends in .py has a loader
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class ConsoleAssets(BuildHookInterface[BuilderConfig]):
    """Builds the console's assets, or ends the build with what is to be done."""

    def dependencies(self) -> list[str]:
        """Asks for a node by a Python package only when there is something to build and no node is here."""
        tool = load_tool()
        if tool.Assets(root=Path(self.root)).fresh() or tool.find_node():
            return []
        return [tool.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs before files are gathered, for every target."""
        tool = load_tool()
        try:
            tool.Assets(root=Path(self.root)).make()
        except tool.AssetsMissing as problem:
            self.app.abort(f"assets: {problem}")
