"""`codec: lines`: a message is the text of a frame, str."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roo.api import Codec, Decoder, Encoder, Failure
from roo.connectors.framing import FrameDecoder, Frames, LineFrames, PrefixFrames, frames_of, joiner

BOM = b"\xef\xbb\xbf"


class TextDecoder(FrameDecoder):
    """A decoder of text that tries a whole chunk at once, and frame by frame where that fails.

    A byte order mark at the very start of a stream of lines is left out.
    """

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames)
        self._lines = frames if isinstance(frames, LineFrames) else None
        self._begun = False  # whether a frame came already

    @property
    def learns(self) -> bool:
        return not self._begun

    def memory(self) -> Any:
        return {} if self._begun else None

    def remember(self, memory: Any) -> None:
        self._begun = self.frames.goes_on = memory is not None

    def bulk(self, text: str) -> list[Any]:
        """The messages of all lines of a text. May raise anything: then each goes by itself."""
        raise NotImplementedError

    def feed(self, data: bytes) -> tuple[list[Any], list[Failure]]:
        lines = self._lines
        if lines is None:
            return super().feed(data)
        block = lines.block(data)
        self.pending_bytes = lines.fed - lines.clean
        if block is None:
            return [], []
        self._begun = True
        if lines.at_start and block.startswith(BOM):
            return self.decode(block.split(b"\n"))
        try:
            messages = self.bulk(block.decode())
        except Exception:
            return self.decode(block.split(b"\n"))
        self.locate_in(block)
        return messages, []

    def decode(self, frames: list[bytes]) -> tuple[list[Any], list[Failure]]:
        return super().decode(self.without_mark(frames))

    def without_mark(self, frames: list[bytes]) -> list[bytes]:
        """Frames without the byte order mark, if they begin the stream with one."""
        self._begun = self._begun or bool(frames)
        if not self.frames.at_start or not frames or not frames[0].startswith(BOM):
            return frames
        if isinstance(self.frames, PrefixFrames):
            return frames
        self.frames.start = len(BOM)
        return [frames[0][len(BOM) :], *frames[1:]]


class LinesCodec(Codec):
    """Options: framing, length_bytes, max_frame_bytes."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._join = joiner(options)

    def decoder(self) -> Decoder:
        return LinesDecoder(frames_of(self._options))

    def encoder(self) -> Encoder:
        return LinesEncoder(self._join)


class LinesDecoder(TextDecoder):
    """UTF-8, with \\n or \\r\\n at the ends of lines."""

    def bulk(self, text: str) -> list[Any]:
        lines = text.split("\n")
        return [line.removesuffix("\r") for line in lines] if "\r" in text else lines

    def one(self, frame: bytes) -> str:
        text = frame.decode()
        return text.removesuffix("\r") if self._lines else text


class LinesEncoder(Encoder):
    """Messages must be str. A newline within one is written as it is."""

    def __init__(self, join: Any) -> None:
        self._join = join

    def encode(self, messages: list[Any]) -> bytes:
        for message in messages:
            if not isinstance(message, str):
                name = type(message).__qualname__
                raise TypeError(f"codec lines writes messages of type str, not {name}")
        encoded: bytes = self._join(messages)
        return encoded
