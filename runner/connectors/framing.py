"""Cutting a stream of bytes into frames, and putting frames together.

Two framings: `lines` (each frame ends in a newline) and `length_prefix` (each begins with its
length, big-endian). No frame above `max_frame_bytes` is ever held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from roo.api import ConnectorError, Decoder, Failure

MAX_FRAME_BYTES = 16 * 1024 * 1024
NOTHING = object()
"""What `FrameDecoder.one` returns for a frame that holds no message."""


class TornFrame(ValueError):
    """A stream ended within a frame."""

    def __init__(self, held_bytes: int) -> None:
        super().__init__(f"the stream ended within a frame, after {held_bytes} bytes of it")


class Frames:
    """Cuts one stream into frames.

    start: offset of the first frame of the last call. clean: offset after its last frame. fed:
    bytes seen so far. overhead_bytes: what each frame has around it. All from the stream's start.
    goes_on: frames that were cut elsewhere came before: offsets count from there.
    """

    overhead_bytes = 1
    goes_on = False

    def __init__(self, max_frame_bytes: int) -> None:
        self.start = self.clean = self.fed = 0
        self.max_frame_bytes = max_frame_bytes
        self._broken: ConnectorError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises ConnectorError for one above max_frame, once
        the frames before it are delivered.
        """
        raise NotImplementedError

    def finish(self) -> bytes | None:
        """What is left at the end of the stream, if anything."""
        raise NotImplementedError

    @property
    def at_start(self) -> bool:
        """Whether the first frame of the last call begins the stream."""
        return not self.start and not self.goes_on

    def _stop(self, offset: int) -> ConnectorError:
        """No way on: the frame at an offset is too large."""
        self._broken = too_large(offset, self.max_frame_bytes)
        return self._broken


class LineFrames(Frames):
    """Frames that end in a newline; the last one of a stream may lack it."""

    def __init__(self, max_frame_bytes: int) -> None:
        super().__init__(max_frame_bytes)
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        block = self.block(data)
        return [] if block is None else block.split(b"\n")

    def block(self, data: bytes) -> bytes | None:
        """As `feed`, the frames still joined by newlines; None: `data` completes no frame."""
        if self._broken:
            raise self._broken
        self.fed += len(data)
        self.start = self.clean
        last = data.rfind(b"\n")
        if last < 0:
            if data:
                self._held.append(data)
            if self.fed - self.clean > self.max_frame_bytes:
                self._held.clear()
                raise self._stop(self.clean)
            return None
        block = data[:last]
        if self._held:
            self._held.append(block)
            block = b"".join(self._held)
        rest = data[last + 1 :]
        self._held = [rest] if rest else []
        if len(block) > self.max_frame_bytes:
            return self._checked(block)
        self.clean += len(block) + 1
        if len(rest) > self.max_frame_bytes:
            self._held.clear()
            self._stop(self.clean)
        return block

    def finish(self) -> bytes | None:
        if self._broken:
            raise self._broken
        self.start = self.clean
        self.clean = self.fed
        rest = b"".join(self._held)
        self._held.clear()
        return rest or None

    def _checked(self, block: bytes) -> bytes | None:
        """The part of a block before its first frame above max_frame."""
        good = 0
        for frame in block.split(b"\n"):
            if len(frame) > self.max_frame_bytes:
                self._held.clear()
                error = self._stop(self.clean + good)
                if not good:
                    raise error
                self.clean += good
                return block[: good - 1]
            good += len(frame) + 1
        self.clean += good
        if self.fed - self.clean > self.max_frame_bytes:
            self._held.clear()
            self._stop(self.clean)
        return block


class PrefixFrames(Frames):
    """Frames that begin with their length: 1, 2, 4 or 8 bytes, big-endian."""

    def __init__(self, max_frame_bytes: int, length_bytes: int) -> None:
        super().__init__(max_frame_bytes)
        self.overhead_bytes = length_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        if self._broken:
            raise self._broken
        self.fed += len(data)
        self.start = self.clean
        self._held += data
        held, width = self._held, self.overhead_bytes
        frames = []
        at = 0
        while len(held) - at >= width:
            body = at + width
            end = body + int.from_bytes(held[at:body], "big")
            if end - body > self.max_frame_bytes:
                self._stop(self.clean + at)
                break
            if end > len(held):
                break
            frames.append(bytes(held[body:end]))
            at = end
        self.clean += at
        del held[:at]
        if self._broken:
            held.clear()
            if not frames:
                raise self._broken
        return frames

    def finish(self) -> bytes | None:
        if self._broken:
            raise self._broken
        self.start = self.clean
        self.clean = self.fed
        rest = bytes(self._held)
        self._held.clear()
        return rest or None


def too_large(offset: int, max_frame_bytes: int) -> ConnectorError:
    """The error for a frame that begins at an offset of the stream and is above max_frame."""
    return ConnectorError(
        f"the frame at byte {offset} is larger than max_frame ({max_frame_bytes} bytes)",
        "raise max_frame, or look whether `framing` fits the data",
    )


def frames_of(options: Mapping[str, Any]) -> Frames:
    """The cutter that a codec's options ask for. Raises ConnectorError for impossible ones."""
    max_frame_bytes = options.get("max_frame_bytes") or MAX_FRAME_BYTES
    width = prefix_bytes(options)
    return PrefixFrames(max_frame_bytes, width) if width else LineFrames(max_frame_bytes)


def prefix_bytes(options: Mapping[str, Any]) -> int:
    """How many bytes the length before each frame takes; 0 for lines. Raises ConnectorError."""
    framing = options.get("framing") or "lines"
    if framing == "lines":
        return 0
    if framing != "length_prefix":
        raise ConnectorError(f"no framing is called {framing!r}", "one of: lines, length_prefix")
    width = options.get("length_bytes") or 4
    if width not in (1, 2, 4, 8):
        raise ConnectorError(f"a length can't take {width!r} bytes", "one of: 1, 2, 4, 8")
    return int(width)


class FrameDecoder(Decoder):
    """A decoder that looks at one frame at a time, by its method `one`.

    skips_empty: whether an empty frame is no message where all frames are decoded at once.
    """

    skips_empty = False

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def one(self, frame: bytes) -> Any:
        """The message of one frame, or NOTHING. Whatever it raises makes a Failure."""
        raise NotImplementedError

    def feed(self, data: bytes) -> tuple[list[Any], list[Failure]]:
        frames = self.frames.feed(data)
        self.pending_bytes = self.frames.fed - self.frames.clean
        return self.decode(frames)

    def finish(self) -> tuple[list[Any], list[Failure]]:
        rest = self.frames.finish()
        self.pending_bytes = 0
        if rest is None:
            return [], []
        if isinstance(self.frames, PrefixFrames):
            return [], [Failure(0, rest, self.frames.start, TornFrame(len(rest)))]
        return self.decode([rest])

    def decode(self, frames: list[bytes]) -> tuple[list[Any], list[Failure]]:
        """Each frame by itself, so that a bad one costs nothing but itself."""
        messages: list[Any] = []
        failures: list[Failure] = []
        offsets: list[int] = []
        self.locate = offsets.__getitem__
        offset = self.frames.start
        for frame in frames:
            try:
                message = self.one(frame)
                if message is not NOTHING:
                    messages.append(message)
                    offsets.append(offset)
            except Exception as error:
                failures.append(Failure(len(messages), frame, offset, error))
            offset += len(frame) + self.frames.overhead_bytes
        return messages, failures

    def locate_in(self, frames: bytes | list[bytes]) -> None:
        """The messages of this call were made of these frames, all at once. bytes: lines."""
        start, overhead_bytes = self.frames.start, self.frames.overhead_bytes
        self.locate = partial(_place, frames, start, overhead_bytes, self.skips_empty)


def _place(
    frames: bytes | list[bytes], start: int, overhead_bytes: int, skips_empty: bool, index: int
) -> int:
    """Offset of the frame of messages[index]."""
    for frame in frames.split(b"\n") if isinstance(frames, bytes) else frames:
        if frame or not skips_empty:
            if not index:
                return start
            index -= 1
        start += len(frame) + overhead_bytes
    raise IndexError("no such message in the last call")


def joiner(options: Mapping[str, Any]) -> Callable[[list[Any]], bytes]:
    """What turns items, str or bytes, into framed bytes.

    The callable raises TypeError for any other item, UnicodeEncodeError for a lone surrogate,
    ValueError for an item that is too long for its length prefix.
    """
    width = prefix_bytes(options)
    if width:
        return lambda items: b"".join([_prefixed(_raw(item), width) for item in items])
    return _join_lines


def _join_lines(items: list[Any]) -> bytes:
    if not items:
        return b""
    try:
        text = "\n".join(items)
    except TypeError:
        pass
    else:
        return (text + "\n").encode()
    try:
        return b"\n".join(items) + b"\n"
    except TypeError:
        return b"".join([_raw(item) + b"\n" for item in items])


def _raw(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes | bytearray):
        return bytes(item)
    raise TypeError(f"an encoded message must be str or bytes, not {type(item).__qualname__}")


def _prefixed(frame: bytes, width: int) -> bytes:
    if len(frame) >> (8 * width):
        raise ValueError(f"{len(frame)} bytes are too many for a length of {width} bytes")
    return len(frame).to_bytes(width, "big") + frame
