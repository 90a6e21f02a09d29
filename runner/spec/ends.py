"""Options of sources and sinks that do not fit together."""

from __future__ import annotations

from os.path import isdir, normpath
from typing import Any

from roo.spec.parts import Part, Parts
from roo.spec.text import Document

BY_LINE = ("lines", "json", "bytes")
"""Codecs that can begin to read in the middle of a file, at the next line."""

CSV_ONLY = ("columns", "header", "delimiter")


def check(document: Document, parts: Parts) -> None:
    """Add a finding for everything in a source or sink that can't be."""
    for part in (*parts.sources, *parts.sinks):
        _codec(document, part)
    for source in parts.sources:
        _splits(document, source)
        _follow(document, source)
        if source.data.get("type") == "generate":
            _generate(document, source)
    _files(document, parts)
    _once(document, parts)


def _codec(document: Document, part: Part) -> None:
    whom, data = f"{part.kind} {part.name}", part.data
    function = "decode" if part.kind == "source" else "encode"
    if "codec" in data and function in data:
        what = f"{whom} has both codec and {function}"
        document.find((*part.path, function), "codec-twice", what, "keep one of them")
    if "length_bytes" in data and data.get("framing") != "length_prefix":
        what, hint = f"{whom} has length_bytes but no lengths", "add `framing: length_prefix`"
        document.find((*part.path, "length_bytes"), "no-lengths", what, hint)
    codec = data.get("codec")
    options = codec if isinstance(codec, dict) else {}
    kind = codec_kind(data)
    if kind != "csv":
        for name in CSV_ONLY:
            if name in options:
                what = f"{whom} has {name}, which {kind} has no use for"
                path = (*part.path, "codec", name)
                document.find(path, "only-csv", what, "take it out", key=True)
    elif "columns" in options:
        _columns(document, part, options["columns"])
    else:
        path, hint = (*part.path, "codec"), "codec: {type: csv, columns: [a, b]}"
        if part.kind == "sink":
            what = f"{whom} writes csv, but does not say which columns"
            document.find(path, "no-columns", what, hint)
        elif options.get("header") is False:
            what = f"{whom} reads csv without a header, but does not name the columns"
            document.find(path, "no-columns", what, hint)


def _columns(document: Document, part: Part, columns: Any) -> None:
    for index, name in enumerate(columns if isinstance(columns, list) else []):
        if name in columns[:index]:
            path = (*part.path, "codec", "columns", index)
            what = f"two columns of {part.kind} {part.name} are called '{name}'"
            document.find(path, "same-column", what, "give each a name of its own")


def _generate(document: Document, source: Part) -> None:
    function = "call" in source.data
    for name in ("start", "step") if function else ("with",):
        if name in source.data:
            what = f"source {source.name} has {name}, which "
            what += "only the built-in numbers have" if function else "is for a function"
            hint = "take it out; use `with`" if function else "name the function in `call`"
            document.find((*source.path, name), "no-use", what, hint, key=True)


def _follow(document: Document, source: Part) -> None:
    if "rotate_wait" in source.data and source.data.get("follow") is not True:
        what = f"source {source.name} has rotate_wait, and does not follow its file"
        path = (*source.path, "rotate_wait")
        document.find(path, "no-use", what, "take it out, or add `follow: true`", key=True)


def _splits(document: Document, source: Part) -> None:
    splits = source.data.get("splits", 1)
    if not isinstance(splits, int) or splits < 2:
        return

    def find(what: str, hint: str) -> None:
        document.find((*source.path, "splits"), "splits", what, hint)

    where = source.data.get("path")
    if source.data.get("follow") is True:
        hint = "leave out `splits` or `follow`"
        find(f"source {source.name} can't be cut and followed", hint)
    if isinstance(where, str) and (any(c in where for c in "*?[") or _folder(where)):
        hint = "leave out `splits`: it cuts one large file"
        find(f"source {source.name} reads many files, each a split", hint)
    kind = codec_kind(source.data)
    if kind not in (*BY_LINE, "function"):
        hint = f"leave out `splits`; it works with {', '.join(BY_LINE)}"
        find(f"a {kind} file can't be cut: not every line starts a message", hint)
    packed = source.data.get("compression", "auto") in ("gzip", "zstd", "bz2")
    if packed or (isinstance(where, str) and where.endswith((".gz", ".zst", ".bz2"))):
        find("a compressed file can't be cut", "leave out `splits`, or unpack the file")


def codec_kind(data: dict[str, Any]) -> str:
    """The kind of codec that a source or sink asks for."""
    if "decode" in data or "encode" in data:
        return "function"
    codec = data.get("codec", "lines")
    kind = codec.get("type", "lines") if isinstance(codec, dict) else codec
    return kind if isinstance(kind, str) else "lines"


def _files(document: Document, parts: Parts) -> None:
    written: dict[str, Part] = {}
    read = {_normal(s.data.get("path")): s for s in parts.sources if s.data.get("type") == "file"}
    for sink in parts.sinks:
        if sink.data.get("type") != "file":
            continue
        path = _normal(sink.data.get("path"))
        if path is None:
            continue
        if path in written:
            what = f"sinks {written[path].name} and {sink.name} write the same file"
            document.find((*sink.path, "path"), "same-file", what, "give each a file of its own")
        written.setdefault(path, sink)
        if path in read:
            what = f"sink {sink.name} would write the file that source {read[path].name} reads"
            document.find((*sink.path, "path"), "same-file", what, "write another file")


def _folder(path: str) -> bool:
    return path.endswith("/") or isdir(path)  # noqa: PTH112 (Path.is_dir raises for long names)


def _once(document: Document, parts: Parts) -> None:
    """There is one stdin, and one listener to an address."""
    taken: dict[Any, Part] = {}
    for source in parts.sources:
        kind, address = source.data.get("type"), source.data.get("address")
        if kind == "stdin":
            what, path, hint = "stdin", source.path, "steps can share one source: `from` it"
        elif kind == "tcp" and isinstance(address, str):
            what, path = address, (*source.path, "address")
            hint = "give each an address of its own; one source takes any number of clients"
        else:
            continue
        if what in taken:
            both = f"sources {taken[what].name} and {source.name} both read {what}"
            document.find(path, "same-input", both, hint, key=kind == "stdin")
        taken.setdefault(what, source)


def _normal(path: Any) -> str | None:
    return normpath(path) if isinstance(path, str) else None
