"""`codec: json`: a message is one JSON value on a line of its own (JSON Lines)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roo.api import Codec, Decoder, Encoder
from roo.connectors.codec_lines import TextDecoder
from roo.connectors.framing import NOTHING, frames_of, joiner


class JsonCodec(Codec):
    """Options: framing, length_bytes, max_frame_bytes."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._join = joiner(options)

    def decoder(self) -> Decoder:
        return JsonDecoder(frames_of(self._options))

    def encoder(self) -> Encoder:
        return JsonEncoder(self._join)


class JsonDecoder(TextDecoder):
    """Any JSON value; blank lines are passed over."""

    skips_empty = True
    _scan = staticmethod(json.JSONDecoder().raw_decode)

    def bulk(self, text: str) -> list[Any]:
        # Line by line, as one parse of all lines joined by commas would let a line `1,2` pass.
        # `scan` is `json.loads` without the search for white space: what doesn't begin at once,
        # or has anything behind it, raises here and is left to `one`.
        scan = self._scan
        messages = []
        for line in text.split("\n"):
            if line:
                message, end = scan(line, 0)
                if end != len(line) and line[end:] != "\r":
                    raise ValueError
                messages.append(message)
        return messages

    def one(self, frame: bytes) -> Any:
        text = frame.decode()
        return json.loads(text) if text and not text.isspace() else NOTHING


class JsonEncoder(Encoder):
    """One compact value a line. Raises TypeError or, for NaN and the infinities, ValueError for
    what JSON has no form for. A lone surrogate, which UTF-8 has no form for, is written escaped.
    """

    def __init__(self, join: Any) -> None:
        self._join = join
        self._dump = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode

    def encode(self, messages: list[Any]) -> bytes:
        texts: list[Any] = [self._dump(message) for message in messages]
        try:
            encoded: bytes = self._join(texts)
        except UnicodeEncodeError:
            encoded = self._join([text.encode("utf-8", "backslashreplace") for text in texts])
        return encoded
