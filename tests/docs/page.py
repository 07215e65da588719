"""Runs one page of the documentation as a reader would, in an empty folder: `python page.py PAGE`.

From top to bottom, in one namespace and one folder:

* a block whose first line is `# file: NAME` is written to that file, in whatever language (JSON without that line);
* a `python` block is run; a statement with `# -> TEXT` behind or below it must give that: what it prints if it is a
  call of `print`, otherwise its repr; lines go on with `#    TEXT`, and `...` stands for anything;
* an `sh` block is run where its lines start with `$ herz`; what follows must be what is printed, and
  `# exit status N` behind the command its status.

`python fresh` starts with an empty namespace and an empty folder. Every other language is left alone.
Tracebacks show the page's own lines.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"(?:#|//) file: (\S+)\n")
EXPECTED = re.compile(r"\s*# -> ?(.*)")
FURTHER = re.compile(r"\s*#    (.*)")
STATUS = re.compile(r"\s+# exit status (\d+)$")


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line in the page."""

    language: str
    fresh: bool
    line: int
    body: str


class Different(AssertionError):
    """A page promises what does not happen."""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for match in FENCE.finditer(text):
        language, *marks = match["info"].split() or [""]
        indent = len(match["indent"])
        body = "".join(line[indent:] if line.strip() else "\n" for line in match["body"].splitlines(keepends=True))
        yield Block(language, "fresh" in marks, text.count("\n", 0, match.start("body")) + 1, body)


class Page:
    """A page while it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = self._module()

    def run(self) -> int:
        """Run every block; how many were."""
        done = 0
        for block in blocks(self.path.read_text(encoding="utf-8")):
            if block.fresh:
                os.chdir(tempfile.mkdtemp(dir=os.getcwd()))
                self.module = self._module()
            if (named := FILE.match(block.body)) is not None:
                body = block.body[named.end() :] if block.language == "json" else block.body
                Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
                Path(named[1]).write_text(body, encoding="utf-8")
            elif block.language == "python":
                self._python(block)
            elif block.language == "sh":
                self._shell(block)
            else:
                continue
            done += 1
        return done

    def _module(self) -> types.ModuleType:
        module = types.ModuleType("__main__")
        module.__dict__["__shown__"] = self._shown
        sys.modules["__main__"] = module
        return module

    # --- python -----------------------------------------------------------------------------------

    def _python(self, block: Block) -> None:
        tree = ast.parse("\n" * (block.line - 1) + block.body, str(self.path))
        tree = ast.fix_missing_locations(_Expectations(block).visit(tree))
        exec(compile(tree, str(self.path), "exec"), self.module.__dict__)  # noqa: S102  that is what it is for

    def _shown(self, line: int, expected: str, value: Any = None, printed: tuple[Any, ...] | None = None) -> None:
        got = repr(value) if printed is None else " ".join(map(str, printed))
        self._compare(line, expected, got)

    def _compare(self, line: int, expected: str, got: str) -> None:
        wanted, found = _lines(expected), _lines(got)
        pattern = re.escape("\n".join(wanted)).replace(re.escape("..."), ".*")
        if not re.fullmatch(pattern, "\n".join(found), re.DOTALL):
            raise Different("\n  ".join([f"{self.path}:{line} promises", *wanted, "and gives", *found]))

    # --- shell ------------------------------------------------------------------------------------

    def _shell(self, block: Block) -> None:
        commands: list[tuple[int, str, list[str]]] = []
        for number, line in enumerate(block.body.splitlines(), block.line):
            if line.startswith("$ "):
                commands.append((number, line[2:], []))
            elif commands:
                commands[-1][2].append(line)
        for number, command, promised in commands:
            if command.startswith("herz "):
                self._herz(number, command, promised)

    def _herz(self, line: int, command: str, promised: list[str]) -> None:
        from herz.cli.main import main

        wanted = 0
        if (said := STATUS.search(command)) is not None:
            command, wanted = command[: said.start()], int(said[1])
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = main(shlex.split(command)[1:])
        if status != wanted:
            raise Different(f"{self.path}:{line}: {command} ends with {status}, not {wanted}:\n{out.getvalue()}")
        if any(promised):
            self._compare(line, "\n".join(promised), out.getvalue())


class _Expectations(ast.NodeTransformer):
    """Replaces each statement that has a `# ->` by one that compares."""

    def __init__(self, block: Block) -> None:
        self._first = block.line
        self._lines = block.body.splitlines()

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        expected = self._expected(node)
        if expected is None:
            return self.generic_visit(node)
        call = node.value
        prints = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
        given: ast.expr = ast.Tuple(call.args, ast.Load()) if prints else call  # type: ignore[attr-defined]
        shown = ast.Call(
            ast.Name("__shown__", ast.Load()),
            [ast.Constant(node.lineno), ast.Constant(expected)],
            [ast.keyword("printed" if prints else "value", given)],
        )
        return ast.copy_location(ast.Expr(shown), node)

    def _expected(self, node: ast.Expr) -> str | None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        at = node.end_lineno - self._first
        match = EXPECTED.fullmatch(self._lines[at].encode()[node.end_col_offset :].decode())
        if match is None:
            at += 1
            match = EXPECTED.fullmatch(self._lines[at]) if at < len(self._lines) else None
        if match is None:
            return None
        text = [match[1]]
        for line in self._lines[at + 1 :]:
            further = FURTHER.fullmatch(line)
            if further is None:
                break
            text.append(further[1])
        return "\n".join(text)


def _lines(text: str) -> list[str]:
    """The lines of `text` without blanks at their ends; what the page leaves out at its end does not count."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


if __name__ == "__main__":
    page = Page(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(f"{page.path.name}: {page.run()} blocks")
        os.chdir(page.path.parent)
