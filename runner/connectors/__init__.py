"""Roo's own connectors and codecs, by the names that a pipeline file calls them.

Each kind lives in a module of its own that is imported when it is first asked for, so that a run
pays at start for nothing it does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from roo.api import Codec, ConnectorError, Sink, Source

SOURCES = {
    "file": "file_source:FileSource",
    "stdin": "stdin:StdinSource",
    "tcp": "tcp_source:TcpSource",
    "generate": "generate:GenerateSource",
}
SINKS = {
    "file": "file_sink:FileSink",
    "stdout": "stdout:StdoutSink",
    "tcp": "tcp_sink:TcpSink",
    "null": "null:NullSink",
}
CODECS = {
    "lines": "codec_lines:LinesCodec",
    "json": "codec_json:JsonCodec",
    "csv": "codec_csv:CsvCodec",
    "msgpack": "codec_msgpack:MsgpackCodec",
    "bytes": "codec_bytes:BytesCodec",
}


def source(type: str, options: Mapping[str, Any]) -> Source:
    """A new source of a kind, or of the user's class for `plugin`.

    options: as in the pipeline file, sizes in bytes and durations in seconds, `class` and `call`
    already imported. Raises ConnectorError for a plugin that is no Source.
    """
    if type == "plugin":
        made = _plugin(options, Source)
        assert isinstance(made, Source)
        return made
    source: Source = _load(SOURCES, "source", type)(options)
    return source


def sink(type: str, options: Mapping[str, Any]) -> Sink:
    """A new sink of a kind, or of the user's class for `plugin`. Options and errors: `source`."""
    if type == "plugin":
        made = _plugin(options, Sink)
        assert isinstance(made, Sink)
        return made
    sink: Sink = _load(SINKS, "sink", type)(options)
    return sink


def codec(kind: str, function: Callable[..., Any] | None, options: Mapping[str, Any]) -> Codec:
    """A new codec. function: the user's own, for the kind `function`.

    options: framing, length_bytes, max_frame_bytes and what the kind takes besides. Raises
    ConnectorError for options that can't work.
    """
    if kind == "function":
        from roo.connectors.codec_function import FunctionCodec

        if function is None:
            raise ConnectorError("a codec of the kind function was given no function")
        return FunctionCodec(function, options)
    codec: Codec = _load(CODECS, "codec", kind)(options)
    return codec


def joiner(options: Mapping[str, Any]) -> Callable[[list[str | bytes]], bytes]:
    """What frames and joins items already encoded by the user, str or bytes, as `options` say.

    The callable raises TypeError for any other item, UnicodeEncodeError for text that is no
    Unicode (a lone surrogate).
    """
    from roo.connectors.framing import joiner

    return joiner(options)


def _load(table: Mapping[str, str], what: str, name: str) -> Any:
    """The class that the table has for a name."""
    if name not in table:
        raise ConnectorError(f"no {what} is called {name!r}", f"one of: {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def _plugin(options: Mapping[str, Any], base: type[Source] | type[Sink]) -> Source | Sink:
    """The user's class called with what stands under `with`."""
    cls = options["class"]
    made = cls(options.get("with") or {})
    if not isinstance(made, base):
        name = f"{getattr(cls, '__module__', '')}:{getattr(cls, '__qualname__', cls)}".lstrip(":")
        raise ConnectorError(
            f"{name} makes no roo.api.{base.__name__}, but a {type(made).__qualname__}",
            f"let the class inherit from roo.api.{base.__name__}",
        )
    return made
