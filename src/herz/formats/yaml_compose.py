"""The reference reader of YAML: libyaml's events, composed by the rules of YAML 1.2.

It defines what Herz takes a YAML document to mean, with every line, and describes every fault. It knows
anchors, aliases (bounded), merge keys (`<<`, https://yaml.org/type/merge.html), and one document per stream.
Keys are text as written: `8080:` is the key "8080".
"""

from __future__ import annotations

from typing import Any, Final

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]

from herz.errors import DocumentTooLarge, DuplicateKey
from herz.formats.fault import Fault, Limits, too_deep
from herz.formats.written import Member, Table
from herz.formats.yaml_schema import plain_scalar, tagged_scalar, unknown_tag
from herz.model.key import relaxed

_COLLECTION_TAGS: Final = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_OPEN: Final = object()  # an anchor whose node is not complete
_NO_KEY: Final = object()


class _Frame:
    """An open collection: what it holds so far, and where it goes when it closes."""

    __slots__ = ("anchor", "key", "key_line", "line", "merges", "nodes", "size")

    def __init__(self, nodes: Any, anchor: str | None, line: int) -> None:
        self.nodes = nodes
        self.anchor = anchor
        self.line = line
        self.key: Any = _NO_KEY
        self.key_line = line
        self.size = 1
        self.merges: list[tuple[int, Any]] = []


def written(text: str, limits: Limits) -> Table:
    """The document with every key and line; an empty stream is an empty table. Raises `Fault`."""
    parser = CParser(text)
    try:
        return _Composer(limits).compose(parser)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (None, "") if mark is None else (mark.line + 1, f" at column {mark.column + 1}")
        what = ": ".join(part for part in (error.context, error.problem) if part)
        if "nesting depth" in what:  # libyaml looks ahead, and may meet its own limit before we meet ours
            raise Fault(
                "nested deeper than the YAML reader goes", line, remedy="flatten the document", kind=DocumentTooLarge
            ) from error
        raise Fault(f"malformed YAML: {what}{column}", line, remedy=_REMEDY) from error
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        line = text.encode().count(b"\n", 0, position) + 1
        raise Fault(f"malformed YAML: {error.reason}", line, remedy="remove the control character") from error
    except yaml.YAMLError as error:
        raise Fault("malformed YAML", remedy=_REMEDY) from error


_REMEDY: Final = "correct the document; until then the last good one keeps serving"


class _Composer:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.expanded = 0
        self.root: Any = None

    def compose(self, parser: Any) -> Table:
        documents = 0
        while True:
            event = parser.get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._open(event, Table())
            elif kind is yaml.SequenceStartEvent:
                self._open(event, [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise Fault(
                        "several documents in one file",
                        event.start_mark.line + 1,
                        remedy="keep one; for profiles write a file for each, such as application-prod.yml",
                    )
            elif event is None or kind is yaml.StreamEndEvent:
                break
        if type(self.root) is Table:
            return self.root
        if self.root is None:
            return Table()
        raise Fault("the document is not a table", 1, remedy="write it as keys with values")

    def _open(self, event: Any, nodes: Any) -> None:
        line = event.start_mark.line + 1
        if event.tag not in _COLLECTION_TAGS or (event.tag or "!")[-3:] == ("seq" if type(nodes) is Table else "map"):
            raise unknown_tag(line)
        if len(self.stack) >= self.limits.max_depth:
            raise too_deep(self.limits, line)
        if self.stack and type(self.stack[-1].nodes) is Table and self.stack[-1].key is _NO_KEY:
            raise Fault("a key is a table or a list", line, remedy="write keys as text")
        if event.anchor is not None:
            self.anchors[event.anchor] = (_OPEN, 0)
        self.stack.append(_Frame(nodes, event.anchor, line))

    def _close(self) -> None:
        frame = self.stack.pop()
        if frame.merges:
            _merge(frame)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.nodes, frame.size)
        self._add(frame.nodes, frame.line, frame.size)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        node, size = self.anchors.get(event.anchor, (None, 0))
        if size == 0:
            # An alias is not quoted: it may be a password that begins with an asterisk, without quotes.
            what = "what an alias names contains itself" if node is _OPEN else "an alias names nothing above"
            raise Fault(what, line, remedy="correct the alias; put a text that begins with * in quotes")
        if self.stack and type(self.stack[-1].nodes) is Table and self.stack[-1].key is _NO_KEY:
            raise Fault("a key is an alias", line, remedy="write keys as text")
        self.expanded += size
        if self.expanded > self.limits.max_alias_nodes:
            raise Fault(
                f"aliases expand to more than {self.limits.max_alias_nodes} values",
                line,
                remedy="write less by alias, or raise herz.config.limits.max-alias-nodes",
                kind=DocumentTooLarge,
            )
        self._add(node, line, size)

    def _scalar(self, event: Any) -> None:
        line = event.start_mark.line + 1
        text: str = event.value
        plain = event.implicit[0]
        frame = self.stack[-1] if self.stack else None
        if frame is not None and type(frame.nodes) is Table and frame.key is _NO_KEY:
            if event.tag is not None:
                tagged_scalar(event.tag, text, line)
            frame.key = _MERGE if plain and text == "<<" else text
            frame.key_line = line
            if event.anchor is not None:
                self.anchors[event.anchor] = (text, 1)
            return
        if plain:
            value = plain_scalar(text, line)
        elif event.tag is None:
            value = text
        else:
            value = tagged_scalar(event.tag, text, line)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        if frame is None and value is None and (text or event.anchor or event.tag):
            raise Fault("the document is not a table", line, remedy="write it as keys with values")
        self._add(value, line, 1)

    def _add(self, node: Any, line: int, size: int) -> None:
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        frame.size += size
        if type(frame.nodes) is not Table:
            frame.nodes.append(node)
        elif frame.key is _MERGE:
            if frame.merges:
                raise Fault("merge key '<<' is written twice", frame.key_line, remedy=_MERGE_LIST, kind=DuplicateKey)
            frame.merges.append((frame.key_line, node))
            frame.key = _NO_KEY
        else:
            frame.nodes.append(Member(frame.key, frame.key_line, node))
            frame.key = _NO_KEY


_MERGE: Final = object()
_MERGE_LIST: Final = "merge several with a list: <<: [*a, *b]"


def _merge(frame: _Frame) -> None:
    """Append what `<<` brings in: own keys win over it, in any spelling, and earlier tables over later ones."""
    ((line, node),) = frame.merges
    tables = node if type(node) is list else [node]
    taken = {relaxed(member.name) for member in frame.nodes}
    for table in tables:
        if type(table) is not Table:
            raise Fault("merge key '<<' takes a table or a list of tables", line, remedy="write <<: *anchor")
        brought = [member for member in table if relaxed(member.name) not in taken]
        frame.nodes.extend(brought)
        taken.update(relaxed(member.name) for member in brought)
