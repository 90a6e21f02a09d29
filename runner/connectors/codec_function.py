"""`decode:` and `encode:`: the user's own function for one frame or one message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from roo.api import Codec, Decoder, Encoder
from roo.connectors.framing import NOTHING, FrameDecoder, Frames, frames_of, joiner


class FunctionCodec(Codec):
    """function: frame (bytes) -> message, None for no message; or message -> str or bytes.

    options: framing, length_bytes, max_frame_bytes. A frame is given as it came: of lines, all
    but the newline.
    """

    def __init__(self, function: Callable[[Any], Any], options: Mapping[str, Any]) -> None:
        self._function = function
        self._options = options
        self._join = joiner(options)

    def decoder(self) -> Decoder:
        return FunctionDecoder(self._function, frames_of(self._options))

    def encoder(self) -> Encoder:
        return FunctionEncoder(self._function, self._join)


class FunctionDecoder(FrameDecoder):
    """Never calls the function twice for a frame, as it may count or remember."""

    def __init__(self, function: Callable[[bytes], Any], frames: Frames) -> None:
        super().__init__(frames)
        self._function = function

    def one(self, frame: bytes) -> Any:
        message = self._function(frame)
        return NOTHING if message is None else message


class FunctionEncoder(Encoder):
    """None from the function means that nothing is written for this message."""

    def __init__(self, function: Callable[[Any], Any], join: Callable[[list[Any]], bytes]) -> None:
        self._function = function
        self._join = join

    def encode(self, messages: list[Any]) -> bytes:
        made = map(self._function, messages)
        return self._join([item for item in made if item is not None])
