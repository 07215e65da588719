"""Values copied out of configuration, outside a refresh scope: the value changes, the code still uses the old one.

The code is parsed, not run, so what is found is possible and not certain. Classes are told by the decorators and calls
that declare them (`@herz.properties(…)`, `herz.refresh_scope(…)`), in all scanned files together, and by the
application where it is given. Holders of whole objects in a running process are found there, by `/actuator/scope`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from herz.cli.doctor.code import parsed_files
from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Declared:
    """The classes that are bound to configuration (`models`), those in a refresh scope, the names of Herz objects."""

    models: set[str] = field(default_factory=set)
    scoped: set[str] = field(default_factory=set)
    herzes: set[str] = field(default_factory=set)

    def current(self, name: str) -> bool:
        """Whether an instance of the class is replaced when configuration changes."""
        return name in self.models or name in self.scoped


def check(examination: Examination) -> Iterator[Finding]:
    """Each place that seems to keep a value which will not follow a change."""
    files = list(parsed_files(examination))
    declared = Declared()
    if examination.application is not None:
        providers = examination.application.providers
        declared.models |= {model.__name__ for model in providers.properties}
        declared.scoped |= {kind.__name__ for kind in providers.scoped if isinstance(kind, type)}
    for _, tree in files:
        _declare(tree, declared)
    for place, tree in files:
        for copy in _Copies(declared).in_module(tree):
            yield Finding("copied-value", "warning", f"possible: {copy.what}", f"{place}:{copy.line}", copy.remedy)


def _declare(tree: ast.Module, declared: Declared) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                _sort(_method(decorator), node.name, declared)
        elif isinstance(node, ast.Call):
            if _name(node.func) == "Herz":
                continue
            # `herz.properties("p")(Model)`, `herz.refresh_scope(Client, …)`
            wanted = node.func if isinstance(node.func, ast.Call) else node
            for argument in node.args[:1]:
                if (name := _name(argument)) and isinstance(argument, (ast.Name, ast.Attribute)):
                    _sort(_method(wanted), name, declared)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any(_method(one) == "refresh_scope" for one in node.decorator_list) and node.returns is not None:
                declared.scoped.update(_classes(node.returns))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and _makes_herz(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            declared.herzes.update(name for target in targets if (name := _name(target)))


def _makes_herz(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and _name(value.func) == "Herz"


def _sort(method: str, name: str, declared: Declared) -> None:
    if method == "properties":
        declared.models.add(name)
    elif method == "refresh_scope":
        declared.scoped.add(name)


def _method(node: ast.expr) -> str:
    """`properties` of `@herz.properties("p")` and of `@herz.properties`."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else ""


def _name(node: ast.expr) -> str:
    """The last name of `a`, `a.b`; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _classes(annotation: ast.expr) -> set[str]:
    """The names in an annotation: `X`, `X | None`, `Optional[X]`, `Annotated[X, …]`, `"X"`; none for a handle."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return set()
    names = {_name(node) for node in ast.walk(annotation) if isinstance(node, (ast.Name, ast.Attribute))}
    return set() if "Handle" in names else names


@dataclass(frozen=True, slots=True)
class _Copy:
    line: int
    what: str
    remedy: str


class _Copies:
    """The copies in one module."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.held: dict[str, str] = {}
        """Names of the module that hold, or come from, configuration; with what they come from."""

    def in_module(self, tree: ast.Module) -> Iterator[_Copy]:
        yield from self._body(tree.body, "")

    def _body(self, body: list[ast.stmt], inside: str) -> Iterator[_Copy]:
        """Statements that run once, when the module is imported."""
        for statement in body:
            if isinstance(statement, ast.ClassDef):
                yield from self._class(statement)
            elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from self._defaults(statement)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                origin = self._origin(statement.value, {})
                if origin is not None:
                    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                    names = [ast.unparse(target) for target in targets]
                    self.held.update((name, origin) for name in names)
                    yield self._told(statement.lineno, f"{inside}{', '.join(names)}", origin)
            elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
                if isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test):
                    continue
                for part in ("body", "orelse", "finalbody"):
                    yield from self._body(getattr(statement, part, []), inside)

    def _told(self, line: int, name: str, origin: str) -> _Copy:
        return _Copy(
            line,
            f"{name} keeps what {origin} was when the module was imported, and does not follow a change",
            f"read {origin} where it is used, or put what uses {name} into a class under @herz.refresh_scope",
        )

    def _class(self, node: ast.ClassDef) -> Iterator[_Copy]:
        scoped = self.declared.current(node.name)
        yield from self._body([one for one in node.body if not isinstance(one, ast.FunctionDef)], f"{node.name}.")
        for method in node.body:
            if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            yield from self._defaults(method, f"{node.name}.")
            if method.name == "__init__" and not scoped:
                yield from self._init(node.name, method)

    def _init(self, owner: str, method: Function) -> Iterator[_Copy]:
        known = self._parameters(method)
        myself = method.args.args[0].arg if method.args.args else "self"
        for node in ast.walk(method):
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            origin = self._origin(node.value, known)
            if origin is None:
                continue
            for target in targets:
                if isinstance(target, ast.Name):
                    known[target.id] = origin
                elif isinstance(target, ast.Attribute) and _name(target.value) == myself:
                    yield _Copy(
                        node.lineno,
                        f"{owner}.{target.attr} keeps what {origin} was when the object was made: {owner} is not in a "
                        "refresh scope",
                        f"put {owner} into a refresh scope: @herz.refresh_scope above class {owner}; "
                        f"or take a Handle and read it where it is used",
                    )

    def _parameters(self, function: Function) -> dict[str, str]:
        """The parameters that are given an instance which will be replaced, with its class."""
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        found: dict[str, str] = {}
        for one in arguments:
            if one.annotation is not None:
                classes = sorted(name for name in _classes(one.annotation) if self.declared.current(name))
                if classes:
                    found[one.arg] = classes[0]
        return found

    def _defaults(self, function: Function, inside: str = "") -> Iterator[_Copy]:
        for default in [*function.args.defaults, *(one for one in function.args.kw_defaults if one is not None)]:
            origin = self._origin(default, {})
            if origin is not None:
                yield _Copy(
                    default.lineno,
                    f"a default of {inside}{function.name} keeps what {origin} was when the function was defined",
                    f"use None as the default and read {origin} inside {function.name}",
                )

    def _origin(self, value: ast.expr, known: dict[str, str]) -> str | None:
        """What of configuration `value` comes from, if it does; functions made in it read it later, so they do not."""
        if isinstance(value, (ast.Lambda, ast.GeneratorExp)):
            return None
        if isinstance(value, ast.Attribute):
            found = self._origin(value.value, known)
            return None if found is None else _followed(found, value.attr)
        if isinstance(value, ast.Name):
            return known.get(value.id) or self.held.get(value.id)
        if isinstance(value, (ast.Call, ast.Subscript)) and (found := self._read(value)) is not None:
            return found
        if isinstance(value, ast.Call) and self.declared.current(_name(value.func)):
            return None  # an instance made by hand, which nobody said should follow anything
        inner = (one for one in ast.iter_child_nodes(value) if isinstance(one, (ast.expr, ast.keyword)))
        for one in inner:
            found = self._origin(one.value if isinstance(one, ast.keyword) else one, known)
            if found is not None:
                return found
        return None

    def _read(self, value: ast.Call | ast.Subscript) -> str | None:
        """`herz.get(Model)`, `herz.snapshot["key"]`, `herz.snapshot.get("key")`."""
        if isinstance(value, ast.Subscript):
            return _text(value) if self._is_snapshot(value.value) else None
        function = value.func
        if not isinstance(function, ast.Attribute):
            return None
        if function.attr in ("get", "bind") and self._is_snapshot(function.value):
            return _text(value)
        if function.attr in ("get", "current") and value.args and self.declared.current(_name(value.args[0])):
            return _text(value)
        return None

    def _is_snapshot(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr == "snapshot"
            and (_name(node.value) in self.declared.herzes or _name(node.value) == "herz")
        )


def _followed(origin: str, attribute: str) -> str:
    return f"{origin}.{attribute}" if origin.count(".") < 6 else origin


def _text(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "…"
