"""YAML text -> plain data, and the place of every node in it."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from roo.spec.findings import Finding
from roo.spec.model import Path, Places

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NODES_MAX = 100_000
"""Aliases can make a short file endless; no honest pipeline file comes near this."""

SIZE_MAX_BYTES = 4 << 20
"""No honest pipeline file is as large; /dev/zero is larger."""

DEPTH_MAX = 100
"""libyaml's composer recurses in C: many open brackets would end the process, not the parse."""

KEYS_ASIDE = "keep long lists of keys in a file of their own: `keys: {file: …}`"

_BOOL_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_KINDS = {
    "bool": "true or false", "int": "a number", "float": "a number", "null": "nothing",
    "timestamp": "a date",
}  # fmt: skip
_STR = "tag:yaml.org,2002:str"
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}
_TAGS = {*_PLAIN_TAGS, *(f"tag:yaml.org,2002:{n}" for n in ("map", "seq", "timestamp", "value"))}
# `010` is eight and `1:30` is ninety in YAML 1.1.
_TRAP = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-9.]+)+)")


@dataclass
class Document(Places):
    """A parsed file, what was found in it, and where everything stands."""

    data: Any = None
    findings: list[Finding] = field(default_factory=list)

    def find(self, path: Path, code: str, what: str, hint: str = "", *, key: bool = False) -> None:
        """Add a finding at a node."""
        self.findings.append(self.finding(path, code, what, hint, key=key))


def read(file: str) -> Document:
    """Parse a file. Whatever is wrong with it is among the document's findings."""
    document = Document(file)
    text = _text(document)
    if text is not None:
        parse(text, document)
        if document.data is None and not document.findings:
            document.find((), "empty-file", "the file is empty", "begin with `version: 1`")
    return document


def parse(text: str, document: Document) -> None:
    """Parse YAML text into the document. Empty text is None."""
    try:
        deep = _too_deep(text)
        node = None if deep else yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        document.findings.append(_syntax(document.file, text, error))
        return
    if deep:
        what, hint = "this is nested too deeply", f"{DEPTH_MAX} levels at most"
        document.findings.append(Finding(document.file, *_place(deep), "yaml-depth", what, hint))
    if node is None:
        return
    try:
        document.data = _Converter(document).convert(node, ())
    except _Endless:
        document.find((), "yaml-alias", "aliases make this file endless", "write it out")
    except _TooMany:
        what = f"this file holds more than {NODES_MAX:,} values (what an alias names counts again)"
        document.find((), "too-large", what, KEYS_ASIDE)


def _text(document: Document) -> str | None:
    path = FilePath(document.file)
    what, hint = "", "name a pipeline file (YAML)"
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX_BYTES + 1)
    except FileNotFoundError:
        code, what = "no-file", f"there is no file {document.file}"
        near = _near(path)
        hint = f"did you mean '{near}'?" if near else "check the path"
    except IsADirectoryError:
        code, what = "is-a-folder", f"{document.file} is a folder"
    except PermissionError:
        code, what, hint = "no-permission", f"{document.file} may not be read", "see its mode"
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        code, what = "unreadable", f"{document.file} can't be read: {why}"
    else:
        if len(data) <= SIZE_MAX_BYTES:
            return _decoded(data.removeprefix(BOM_UTF8), document)
        size, hint = SIZE_MAX_BYTES >> 20, KEYS_ASIDE
        code, what = "too-large", f"a pipeline file is no larger than {size} MiB"
    document.find((), code, what, hint)
    return None


def _decoded(data: bytes, document: Document) -> str | None:
    try:
        text = data.decode()
        if "\0" not in text:
            return text
        before = text[: text.index("\0")]
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
    hint = "a pipeline file is UTF-8 text"
    document.findings.append(
        Finding(document.file, *_end(before), "not-text", "this is not UTF-8 text", hint)
    )
    return None


def _end(text: str) -> tuple[int, int]:
    """Line and column behind a text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _near(path: FilePath) -> str:
    from difflib import get_close_matches

    try:
        files = [str(p) for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    return next(iter(get_close_matches(str(path), files, n=1)), "")


def _too_deep(text: str) -> Any:
    """Where it first lies deeper than DEPTH_MAX: an event of the parser's, or its error where it
    gave up before (from PyYAML 6.0.4 on it looks 1,000 levels ahead); None: nowhere.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > DEPTH_MAX:
                    return event.start_mark
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.MarkedYAMLError as error:
        if "nesting depth" not in (error.problem or ""):
            raise
        return error.problem_mark
    return None


def _syntax(file: str, text: str, error: yaml.YAMLError) -> Finding:
    strange = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if strange:
        what = f"a pipeline file holds no control characters such as {strange[0]!r}"
        hint = "take it out, or quote and escape it"
        return Finding(file, *_end(text[: strange.start()]), "yaml-syntax", what, hint)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "bad YAML")
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if context.startswith(("while scanning an alias", "while scanning an anchor")):
        mark, what = error.context_mark, "cannot start any token"  # type: ignore[attr-defined]
    line, column = _place(mark) if mark else (1, 1)
    rows = text.split("\n")
    if line > len(rows):  # libyaml ends a last line that has no end
        line, column = _end(text)
    here = rows[line - 1][column - 1 : column]
    hint = "see the indentation, quotes and colons around here"
    if here == "\t":
        what, hint = "a tab can't stand here", "indent with spaces"
    elif "cannot start any token" in what:
        what, hint = f"a text can't begin with {here}", "quote it"
    elif "mapping values are not allowed" in what:
        what = "a colon followed by a space can't stand here"
        hint = "quote the text that holds it, or see the indentation"
    elif "another document" in what:
        what, hint = "a second document begins here", "one pipeline a file: take out the `---`"
    else:
        what = f"{what} {context}".rstrip()
        begun = getattr(error, "context_mark", None)
        if begun and begun.line + 1 < line:
            what += f" that begins at {begun.line + 1}:{begun.column + 1}"
    return Finding(file, line, column, "yaml-syntax", what, hint)


class _Endless(Exception):
    pass


class _TooMany(Exception):
    pass


class _Converter:
    """Nodes -> plain data: dict, list, str, int, float, bool, None."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._scalars = yaml.constructor.SafeConstructor()
        self._nodes = 0

    def convert(self, node: Any, path: Path) -> Any:
        self._nodes += 1
        if len(path) > DEPTH_MAX:  # an alias can lie within its anchor
            raise _Endless
        if self._nodes > NODES_MAX:
            raise _TooMany
        self._document.values[path] = _place(node.start_mark)
        if node.tag not in _TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._find(node, "yaml-tag", f"the tag {tag} means nothing here", "take it out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag != _STR:
                self._bad_key(key_node, key)
                continue
            at = (*path, key)
            if key in found:
                line = self._document.keys[at][0]
                what = f"'{key}' stands here twice (first in line {line})"
                self._find(key_node, "duplicate-key", what, "keep one of them")
                continue
            self._document.keys[at] = _place(key_node.start_mark)
            found[key] = self.convert(value_node, at)
        return found

    def _bad_key(self, node: Any, text: str | None) -> None:
        if text == "<<":
            what, hint = "merge keys are not supported", "write the keys out"
            self._find(node, "yaml-merge", what, hint)
        elif text is None:
            self._find(node, "bad-key", "a key must be text", "write `key: value`")
        else:
            kind = _KINDS.get(node.tag.rpartition(":")[2], "something else")
            kind = _BOOL_WORDS.get(text.lower(), kind)
            what = f"YAML reads the key {text} as {kind}, not as text"
            self._find(node, "bad-key", what, f"quote it: '{text}'")

    def _scalar(self, node: Any, path: Path) -> Any:
        if node.tag.endswith(":bool") and node.value.lower() in _BOOL_WORDS:
            what = f"YAML reads {node.value} as {_BOOL_WORDS[node.value.lower()]}"
            hint = f"write true or false, or quote it: '{node.value}'"
            self._find(node, "yaml-word", what, hint)
        if node.tag not in _PLAIN_TAGS:
            # A date and the like: what stands there is what is meant.
            return node.value
        try:
            value = self._scalars.construct_object(node)
            if isinstance(value, (int, float)) and _TRAP.fullmatch(node.value):
                what = f"YAML reads {node.value} as {value}"
                hint = f"write {value}, or quote it: '{node.value}'"
                self._find(node, "yaml-word", what, hint)
            return value
        except (yaml.YAMLError, ValueError, LookupError):
            # `!!int x` and the like; the schema says what should stand there.
            return node.value

    def _find(self, node: Any, code: str, what: str, hint: str) -> None:
        self._document.findings.append(
            Finding(self._document.file, *_place(node.start_mark), code, what, hint)
        )


def _place(mark: Any) -> tuple[int, int]:
    """Line and column, from 1 on."""
    return mark.line + 1, mark.column + 1
