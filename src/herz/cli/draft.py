"""`herz draft`: edit what the next release will hold, and see what it would change."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from herz.cli.arguments import command, group
from herz.cli.draft_content import assignments, begun, chosen, layer_in, layer_of, replaced, schema_in
from herz.cli.editing import edited, kept
from herz.cli.output import paint, print_json
from herz.cli.remote import asked, data, message_option, place_options, server_options
from herz.cli.told import (
    conflict_text,
    differences_text,
    masked_differences_told,
    masked_schema_told,
    masking_told,
    moment,
    who,
)
from herz.client import Draft, DraftConflict, Namespace, Validation
from herz.errors import ConfigurationError
from herz.formats.decode import decode
from herz.release.content import Content, LayerText

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers


_DESCRIPTION = """\
The draft is what the next release of an application will hold. Nobody runs it: it is edited,
validated and compared with what is live, then `herz release create` makes it a release.
Where two people edit at once, the second is told what differs, key by key, and nothing is
lost."""

_EXAMPLES = """\
  herz draft write pay.yml --app pay       begin with a file; its name is the layer's
  herz draft set db.pool=20 -m 'more load' single keys; comments stay where they are
  herz draft edit                          in $EDITOR
  herz draft diff                          what it would change, key by key
  herz draft schema schema.json            what every draft must fit
  herz draft validate                      every reason why it cannot be released
  herz draft reset                         throw it away"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and what it can do."""
    top = group(subparsers, "draft", "edit what the next release will hold", _DESCRIPTION, _EXAMPLES)
    parents = [place_options(), server_options()]
    changing = [place_options(), message_option(), server_options()]

    showing = command(top, "show", run_show, summary="print the draft", parents=parents)
    showing.add_argument("--layer", metavar="NAME", help="only this layer")

    editing = command(
        top,
        "edit",
        run_edit,
        summary="edit a layer of the draft in your editor",
        description="Open a layer of the draft in VISUAL, else EDITOR, else vi, and write it when the editor\n"
        "closes. What cannot be written is kept in a file.",
        examples="  EDITOR=nano herz draft edit --app pay\n  herz draft edit --layer tenant",
        parents=changing,
    )
    editing.add_argument("--layer", metavar="NAME", help="the layer to edit, where there are several")

    writing = command(
        top,
        "write",
        run_write,
        summary="replace layers of the draft by files",
        description="Replace layers of the draft by files, or begin one: the file's name is the layer's, its\n"
        "ending says the format. Layers that no file names stay as they are; the last one wins where they are merged.",
        examples="  herz draft write pay.yml\n  herz draft write base.yml tenant.json --only",
        parents=changing,
    )
    writing.add_argument("files", nargs="+", metavar="FILE", help="YAML, JSON, TOML, properties or env")
    writing.add_argument(
        "--only", action="store_true", help="the draft then holds these layers, in this order, no other"
    )
    _expect(writing)

    setting = command(
        top,
        "set",
        run_set,
        summary="change single keys of the draft",
        description="Change single keys. Values are read as YAML reads them: 20 is a number, '\"20\"' is text.",
        examples="  herz draft set db.pool=20 db.timeout=3s\n  herz draft set --unset db.legacy -m 'nobody uses it'",
        parents=changing,
    )
    setting.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="what to write")
    setting.add_argument("--unset", action="append", default=[], metavar="KEY", help="what to delete; may be repeated")
    setting.add_argument("--layer", metavar="NAME", help="the layer to change (default: the last one)")
    _expect(setting)

    comparing = command(
        top, "diff", run_diff, summary="what the draft changes against what is live, key by key", parents=parents
    )
    comparing.add_argument("--exit-code", action="store_true", help="end with 1 when anything differs")
    command(top, "validate", run_validate, summary="say every reason why it cannot be released", parents=parents)
    describing = command(
        top,
        "schema",
        run_schema,
        summary="print or set the JSON Schema that drafts are validated with",
        description="Print the JSON Schema that drafts must fit before they are released, set it from a file, or\n"
        "delete it.",
        examples="  herz draft schema > schema.json\n  herz draft schema schema.json\n  herz draft schema --delete",
        parents=parents,
    )
    either = describing.add_mutually_exclusive_group()
    either.add_argument("file", nargs="?", metavar="FILE", help="JSON or YAML: use this one from now on")
    either.add_argument("--delete", action="store_true", help="validate with none any more")
    command(top, "reset", run_reset, summary="throw the draft away", parents=parents)


def _expect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expect",
        type=int,
        metavar="REVISION",
        help="only if the draft is still at this revision, 0: if there is none",
    )


# --- what they do ---------------------------------------------------------------------------------


def run_show(arguments: argparse.Namespace) -> int:
    """Print the layers; status 1 when there is no draft."""
    draft = asked(arguments, Namespace.draft)
    if arguments.json:
        print_json(data(draft))
        return 0
    if not draft.revision:
        print("there is no draft: `herz draft edit` begins one from what is live", file=sys.stderr)
        return 1
    layers = draft.content.layers
    if arguments.layer is not None:
        layers = (layer_of(draft.content, arguments.layer),)
    print(paint(f"draft at revision {draft.revision}{_by(draft)}", "dim", sys.stderr), file=sys.stderr)
    masking_told(draft.content)
    for layer in layers:
        if len(layers) > 1:
            print(paint(f"# --- {layer.name} ({layer.format})", "bold"))
        print(layer.text, end="" if layer.text.endswith("\n") else "\n")
    return 0


def run_edit(arguments: argparse.Namespace) -> int:
    """Edit and write; status 1 when somebody else was quicker, with both sides told and the text kept."""
    draft, content = asked(arguments, begun)
    layer = chosen(content, arguments.layer)
    text = edited(layer.text, name=layer.name, format=layer.format)
    if text == layer.text:
        return _written(arguments, draft, changed=False)
    try:
        decode(text.encode(), "dotenv" if layer.format == "env" else layer.format, name=layer.name)
        changed = replaced(
            content, [LayerText(name=layer.name, text=text, format=layer.format, dimension=layer.dimension)]
        )
        return _write(arguments, changed, expect=draft.revision, base=draft.base)
    except (DraftConflict, ConfigurationError):
        print(f"your text is kept in {kept(text, name=layer.name, format=layer.format)}", file=sys.stderr)
        raise


def run_write(arguments: argparse.Namespace) -> int:
    """Put the files' texts in."""
    layers = [layer_in(name) for name in arguments.files]
    draft, content = asked(arguments, begun)
    content = Content(layers=tuple(layers)) if arguments.only else replaced(content, layers)
    expect = draft.revision if arguments.expect is None else arguments.expect
    return _write(arguments, content, expect=expect, base=draft.base)


def run_set(arguments: argparse.Namespace) -> int:
    """Change the keys."""
    changes = assignments(arguments.changes, arguments.unset)

    async def write(pay: Namespace) -> Draft:
        return await pay.set(changes, layer=arguments.layer, expect=arguments.expect, message=arguments.message)

    return _written(arguments, _unless_conflict(arguments, write))


def run_diff(arguments: argparse.Namespace) -> int:
    """Print what differs."""
    found = asked(arguments, Namespace.difference)
    if arguments.json:
        print_json(data(found))
    else:
        print(differences_text(found, "the draft changes nothing"))
        masked_differences_told(found)
    return 1 if found and arguments.exit_code else 0


def run_validate(arguments: argparse.Namespace) -> int:
    """Print the problems; status 1 when there is one."""
    found = asked(arguments, Namespace.validate)
    if arguments.json:
        print_json(data(found))
    else:
        print(validation_text(found))
    return 0 if found.ok else 1


def run_schema(arguments: argparse.Namespace) -> int:
    """Print the schema, or set or delete it; status 1 when there is none to print."""
    if arguments.delete:
        asked(arguments, Namespace.delete_schema)
        said = "drafts are validated with no schema"
    elif arguments.file is not None:
        schema = schema_in(arguments.file)
        asked(arguments, lambda pay: pay.set_schema(schema))
        said = "drafts are validated with it from now on"
    else:
        found = asked(arguments, Namespace.schema)
        print_json(found)
        if not arguments.json:
            masked_schema_told(found)
        return 0 if found is not None else 1
    print_json({"schema": not arguments.delete}) if arguments.json else print(said)
    return 0


def run_reset(arguments: argparse.Namespace) -> int:
    """Delete the draft."""
    asked(arguments, Namespace.reset_draft)
    if arguments.json:
        print_json({"draft": None})
    else:
        print("the draft is gone; the next one begins from what is live")
    return 0


# --- parsing and telling --------------------------------------------------------------------------


def validation_text(found: Validation) -> str:
    """Every problem in a line."""
    if found.ok:
        return paint("the draft can be released", "green")
    lines = []
    for problem in found.problems:
        place = f"  {paint(problem.where, 'dim')}" if problem.where else ""
        lines.append(f"{paint('✗', 'red')} {problem.key + ': ' if problem.key else ''}{problem.what}{place}")
    return "\n".join(lines) or paint("the draft cannot be released", "red")


def _by(draft: Draft) -> str:
    said = f", {moment(draft.time)}" if draft.time else ""
    said += f" by {who(draft.author)}" if draft.author else ""
    return said + (f", from release {draft.base}" if draft.base else "")


def _write(arguments: argparse.Namespace, content: Content, *, expect: int | None, base: int | None) -> int:
    async def write(pay: Namespace) -> Draft:
        return await pay.write_draft(content, expect=expect, base=base, message=arguments.message)

    return _written(arguments, _unless_conflict(arguments, write))


def _unless_conflict(arguments: argparse.Namespace, write: Callable[[Namespace], Awaitable[Draft]]) -> Draft:
    """What `write` answers; a conflict shows theirs and yours on its way out."""
    try:
        return asked(arguments, write)
    except DraftConflict as conflict:
        if not arguments.json:
            print(conflict_text(conflict), file=sys.stderr)
        raise


def _written(arguments: argparse.Namespace, draft: Draft, *, changed: bool = True) -> int:
    if arguments.json:
        print_json({"revision": draft.revision, "base": draft.base, "changed": changed})
    elif not changed:
        print("nothing was changed")
    else:
        print(f"draft at revision {paint(str(draft.revision), 'bold')}; `herz draft diff` shows what it changes")
    return 0
