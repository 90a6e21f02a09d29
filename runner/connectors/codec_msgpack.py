"""`codec: msgpack`: a message is one msgpack object; lists come back as lists, bytes as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from roo.api import Codec, ConnectorError, Decoder, Encoder, Failure
from roo.connectors.framing import (
    MAX_FRAME_BYTES,
    FrameDecoder,
    TornFrame,
    frames_of,
    joiner,
    prefix_bytes,
    too_large,
)


class MsgpackCodec(Codec):
    """Options: framing, length_bytes, max_frame_bytes.

    With `framing: lines` (the default) objects follow each other with nothing between them, as
    each says itself where it ends. With `length_prefix` there is one object in a frame.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._framed = bool(prefix_bytes(options))

    def decoder(self) -> Decoder:
        if self._framed:
            return FramedDecoder(frames_of(self._options))
        return StreamDecoder(self._options.get("max_frame_bytes") or MAX_FRAME_BYTES)

    def encoder(self) -> Encoder:
        return MsgpackEncoder(joiner(self._options) if self._framed else b"".join)


class FramedDecoder(FrameDecoder):
    """One object a frame; a frame with more or less is a Failure."""

    def one(self, frame: bytes) -> Any:
        return msgpack.unpackb(frame, raw=False, strict_map_key=False)


class StreamDecoder(Decoder):
    """Objects one after the other.

    An object that is whole but can't be made (text that is no UTF-8, a list for a key of a map)
    is a Failure. Bytes that are no msgpack stop the stream: nobody knows where the next object
    would begin.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._fed = 0
        self._clean = 0  # where the object begins that is not yet whole
        self._held: list[bytes] = []  # what was fed since then
        self._broken: ConnectorError | None = None
        self._restart(0, b"")

    def feed(self, data: bytes) -> tuple[list[Any], list[Failure]]:
        if self._broken:
            raise self._broken
        before = self._clean
        self._fed += len(data)
        self._held.append(data)
        if self._unsure:
            self._restart(self._clean, b"".join(self._held))
        else:
            self._unpacker.feed(data)
        messages: list[Any] = []
        failures: list[Failure] = []
        offsets: list[int] = []
        self.locate = offsets.__getitem__
        while self._broken is None:
            try:
                message = self._unpacker.unpack()
            except msgpack.OutOfData:
                break
            except Exception as error:
                frame = self._step_over(error, before)
                if frame is None:
                    break
                failures.append(Failure(len(messages), frame, self._clean, error))
                self._clean += len(frame)
                continue
            end = self._began + self._unpacker.tell()
            if end - self._clean > self._max_frame_bytes:
                self._broken = too_large(self._clean, self._max_frame_bytes)
                break
            offsets.append(self._clean)
            self._clean = end
            messages.append(message)
        self.pending_bytes = self._fed - self._clean
        if self._clean > before:  # an object ends in the newest data, or it would have been made
            self._held = [data[len(data) - self.pending_bytes :]]
        if self.pending_bytes > self._max_frame_bytes and self._broken is None:
            self._broken = too_large(self._clean, self._max_frame_bytes)
        if self._broken:
            self._held.clear()
            if not messages and not failures:
                raise self._broken
        return messages, failures

    def finish(self) -> tuple[list[Any], list[Failure]]:
        if self._broken:
            raise self._broken
        rest = b"".join(self._held)
        self._held.clear()
        self.pending_bytes = 0
        if not rest:
            return [], []
        return [], [Failure(0, rest, self._clean, TornFrame(len(rest)))]

    def _restart(self, offset: int, data: bytes) -> None:
        """Unpack from an offset on, where `data` begins."""
        size = self._max_frame_bytes
        self._unsure = False  # whether the unpacker gave up within an object
        self._began = offset
        # Lengths are checked before anything is allocated for them.
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, max_buffer_size=0, max_str_len=size,
            max_bin_len=size, max_array_len=size, max_map_len=size, max_ext_len=size,
        )  # fmt: skip
        self._unpacker.feed(data)

    def _step_over(self, error: Exception, before: int) -> bytes | None:
        """The bytes of the object that raised, with the unpacker now behind it; None: not yet
        whole, or no way on. before: the offset at which `_held` begins.
        """
        if isinstance(error, ValueError) and "exceeds max_" in str(error):
            self._broken = too_large(self._clean, self._max_frame_bytes)
            return None
        rest = b"".join(self._held)[self._clean - before :]
        probe = msgpack.Unpacker(max_buffer_size=0)
        probe.feed(rest)
        try:
            probe.skip()
        except msgpack.OutOfData:
            self._unsure = True
            return None
        except Exception as reason:
            why = str(reason) or type(reason).__name__
            self._broken = ConnectorError(
                f"the object at byte {self._clean} is not msgpack: {why}",
                "look whether `codec` and `framing` fit the data",
            )
            return None
        size = probe.tell()
        if size > self._max_frame_bytes:
            self._broken = too_large(self._clean, self._max_frame_bytes)
            return None
        self._restart(self._clean + size, rest[size:])
        return rest[:size]


class MsgpackEncoder(Encoder):
    """Raises TypeError for what msgpack has no form for. Tuples are written as lists."""

    def __init__(self, join: Any) -> None:
        self._join = join
        self._pack = msgpack.Packer(use_bin_type=True).pack

    def encode(self, messages: list[Any]) -> bytes:
        encoded: bytes = self._join([self._pack(message) for message in messages])
        return encoded
