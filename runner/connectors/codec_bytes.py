"""`codec: bytes`: a message is a frame as it is, bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roo.api import Codec, Decoder, Encoder, Failure
from roo.connectors.framing import FrameDecoder, frames_of, joiner


class BytesCodec(Codec):
    """Options: framing, length_bytes, max_frame_bytes."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._join = joiner(options)

    def decoder(self) -> Decoder:
        return BytesDecoder(frames_of(self._options))

    def encoder(self) -> Encoder:
        return BytesEncoder(self._join)


class BytesDecoder(FrameDecoder):
    """Every frame is a message; of lines, all but the newline."""

    def decode(self, frames: list[bytes]) -> tuple[list[Any], list[Failure]]:
        self.locate_in(frames)
        return frames, []


class BytesEncoder(Encoder):
    """Messages must be bytes or bytearray. A newline within one is written as it is."""

    def __init__(self, join: Any) -> None:
        self._join = join

    def encode(self, messages: list[Any]) -> bytes:
        for message in messages:
            if not isinstance(message, bytes | bytearray):
                name = type(message).__qualname__
                raise TypeError(f"codec bytes writes messages of type bytes, not {name}")
        encoded: bytes = self._join(messages)
        return encoded
