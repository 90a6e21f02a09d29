"""Checkpoint folders of strangers: nothing in them is run, and none of it fills the memory."""

from __future__ import annotations

import copyreg
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from xxhash import xxh3_64_intdigest

from roo.checkpoint.allowed import Allowed
from roo.checkpoint.blocks import (
    COMPRESS_UP_TO_BYTES,
    MAGIC,
    BlockWriter,
    Damaged,
    FileInfo,
    Group,
    read_blocks,
)
from roo.checkpoint.encoding import StateDecoder, StateEncoder, StateMismatch
from roo.checkpoint.export import PARTS_MAX, TooLarge, as_json, stored_states
from roo.checkpoint.folder import Folder
from roo.checkpoint.inert import NotStates, plain_states
from roo.cli.main import _run
from roo.items import pack_keys, unpack_keys
from tests.checkpoint.test_folder import chain, manifest

MEMORY_BYTES = 1 << 30
"""What a process that reads hostile states may take."""


class Harm:
    """Pickled by hand: what each of these does, it does to a file that says so."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.flag}",)


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def name(module: str, qualified: str) -> bytes:
    """STACK_GLOBAL."""
    return short(module) + short(qualified) + b"\x93"


def line(text: str) -> bytes:
    return text.encode() + b"\n"


def state(made: bytes, protocol: int = 4) -> bytes:
    """A list of the one state that some opcodes make."""
    return b"\x80" + bytes([protocol]) + b"]" + made + b"a."


def hostile(flag: Path) -> dict[str, bytes]:
    """What runs a command, or tries to, when it is read as Python reads pickles."""
    command = f"touch {flag}"
    arg = short(command) + b"\x85"
    helper = "roo.checkpoint.encoding"
    return {
        "reduce": pickle.dumps([Harm(flag)], 5),
        "reduce, by protocol 0": pickle.dumps([Harm(flag)], 0),
        "by another name of the function": state(name("posix", "system") + arg + b"R"),
        "by way of a module of data": state(name("pathlib", "os.system") + arg + b"R"),
        "by way of a class of data": state(
            name("collections", "Counter.__init__.__globals__") + arg + b"R"
        ),
        "by way of our helpers": state(name(helper, "_new") + short("os:system") + b"\x85R"),
        "by way of our module": state(name(helper, "pickle.loads") + arg + b"R"),
        "by way of our finder": state(name(helper, "_find") + short("antigravity:x") + b"\x85R"),
        "rows of a module": state(
            name(helper, "_rows") + short("os:system") + b")" + b")" + b"\x87R"
        ),
        "eval": state(name("builtins", "eval") + short(f"open({str(flag)!r},'w')") + b"\x85R"),
        "getattr": state(
            name("builtins", "getattr") + name("os", "path") + short("os") + b"\x86R"
            + b"0" + name("os", "system") + arg + b"R"
        ),
        "inst": b"](i" + line("os") + line("system") + b"a.",
        "inst with an argument": b"](S" + line(repr(command)) + b"i" + line("os") + line("system")
                                 + b"a.",
        "obj": b"](c" + line("os") + line("system") + b"S" + line(repr(command)) + b"oa.",
        "global": b"]c" + line("os") + line("system") + b"(S" + line(repr(command)) + b"tRa.",
        "new object": state(name("subprocess", "Popen") + short(command) + b"\x85\x81"),
        "new object with keywords": state(
            name("subprocess", "Popen") + short(command) + b"\x85"
            + b"}" + short("shell") + b"\x88s" + b"\x92"
        ),
        "partial": state(
            name("functools", "partial") + name("os", "system") + short(command) + b"\x86R"
            + b")R"
        ),
        "set a state": state(
            name("functools", "partial") + name("builtins", "list") + b"\x85R"
            + b"(" + name("os", "system") + arg + b"}" + b"Nt" + b"b" + b")R"
        ),
        "reconstructor": state(
            name("copyreg", "_reconstructor") + name("subprocess", "Popen")
            + name("builtins", "object") + b"N" + b"\x87R"
        ),
        "default factory": state(
            name("collections", "defaultdict") + name("os", "system") + b"\x85R"
        ),
        "attributes of a class": state(
            name("collections", "OrderedDict") + b"N}" + short("update") + name("os", "system")
            + b"s\x86b"
        ),
        "attributes of what has none": state(
            name("builtins", "int") + b"}" + short("x") + b"K\x01s" + b"b"
        ),
        "append to what is called": state(
            name("codecs", "open") + short(str(flag)) + short("w") + b"\x86R" + b"(K\x01e"
        ),
        "time zone": state(name("zoneinfo", "ZoneInfo._unpickle") + short("../../etc") + b"\x85R"),
        "import only": state(name("antigravity", "x")),
    }  # fmt: skip


def bombs() -> dict[str, bytes]:
    """What is small and wants gigabytes, or an endless time, or a deep stack."""
    laughs = b"](K\x01" + b"K\x01" * 9 + b"e\x94"
    for n in range(12):
        laughs += b"](" + (b"h" + bytes([n])) * 10 + b"e\x94"
    return {
        "memo": state(b"K\x01r" + struct.pack("<I", 0x7FFFFFFF)),
        "long bytes": state(b"\x8e" + struct.pack("<Q", 1 << 40)),
        "long text": state(b"\x8d" + struct.pack("<Q", 1 << 40)),
        "long byte array": state(b"\x96" + struct.pack("<Q", 1 << 33), 5),
        "long frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"]K\x01a.",
        "long number": state(b"\x8b" + struct.pack("<i", 0x7FFFFFFF)),
        "deep": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "bytes of a number": state(
            name("builtins", "bytes") + b"J" + struct.pack("<i", 0x7FFFFFF0) + b"\x85R"
        ),
        "list of a range": state(
            name("builtins", "list") + name("builtins", "range")
            + b"\x8a\x05" + (1 << 38).to_bytes(5, "little") + b"\x85R" + b"\x85R"
        ),
        "queue of a range": state(
            name("collections", "deque") + name("builtins", "range")
            + b"\x8a\x05" + (1 << 38).to_bytes(5, "little") + b"\x85R" + b"\x85R"
        ),
        "fraction": state(
            name("fractions", "Fraction") + short("1e999999999") + b"\x85R"
        ),
        "columns that are one": state(
            name("roo.checkpoint.encoding", "_rows") + short("a:b")
            + b"(" + b"".join(short(f"n{n}") for n in range(3000)) + b"t"
            + b"]\x94(" + b"K\x01" * 20_000 + b"e" + b"0" + b"(" + b"h\x00" * 3000 + b"t" + b"\x87R"
        ),
        "shared parts": state(laughs),
        "no end": b"\x80\x04](((((((",
        "nothing on the stack": b"\x80\x04.",
        "not a list": b"\x80\x04K\x01.",
        "extension": state(b"\x82\x01"),
        "large extension": state(b"\x84" + struct.pack("<i", 7)),
        "persistent": b"]P" + line("7") + b"a.",
        "persistent object": state(b"K\x01Q"),
        "buffer": state(b"\x97", 5),
        "unknown opcode": state(b"\xff"),
    }  # fmt: skip


def shown(folder: Path, data: bytes) -> Any:
    """As `roo state export` would print it; the error, where it is refused."""
    writer = BlockWriter(folder / "c00000001-w0-s.snap")
    writer.add([Group(pack_keys(["k"]), data, 1, ahead=False)])
    file = writer.finish()
    whole = manifest(1, chains=(chain((file,), ["k"]),))
    try:
        [(_, value)] = stored_states(folder, whole, "s")
        return json.loads(json.dumps(as_json(value)))
    except (Damaged, TooLarge) as error:
        return error


@pytest.mark.parametrize("how", hostile(Path("x")))
def test_who_looks_at_states_runs_nothing(tmp_path: Path, how: str) -> None:
    flag = tmp_path / "ran"
    before = set(sys.modules)
    shown(tmp_path, hostile(flag)[how])
    assert not flag.exists()
    assert "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize("how", hostile(Path("x")))
def test_a_run_makes_nothing_that_is_not_allowed(tmp_path: Path, how: str) -> None:
    flag = tmp_path / "ran"
    with pytest.raises(StateMismatch):
        StateDecoder(Allowed(["tests.checkpoint.kinds"]))(hostile(flag)[how])
    assert not flag.exists()


def test_what_would_be_called_is_shown(tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    said = shown(tmp_path, hostile(flag)["reduce"])
    assert said == {"class": "posix:system", "arguments": [f"touch {flag}"]}


def test_a_registered_extension_is_not_looked_up(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 77)
    try:
        with pytest.raises(NotStates, match="outside of it"):
            plain_states(state(b"\x82\x4d"))
    finally:
        copyreg.remove_extension("os", "system", 77)


PROGRAM = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
from pathlib import Path
from tests.checkpoint.test_hostile import bombs, shown
for number, (how, data) in enumerate(bombs().items()):
    folder = Path(sys.argv[1]) / str(number)
    folder.mkdir()
    print(how, "->", str(shown(folder, data))[:200])
"""


def test_small_states_do_not_fill_the_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [said.split(" -> ")[0] for said in done.stdout.splitlines()] == list(bombs())


def test_a_state_of_too_many_parts_is_not_shown() -> None:
    rows: list[Any] = [1] * 10
    for _ in range(12):
        rows = [rows] * 10
    with pytest.raises(TooLarge, match=f"{PARTS_MAX:,}"):
        as_json(rows)


def test_what_leads_back_to_itself_is_cut() -> None:
    ring: dict[str, Any] = {"n": 1}
    ring["self"] = [ring]
    assert as_json(ring) == {"n": 1, "self": ["…"]}


def block(payload: bytes, unpacked: int, flags: int = 1) -> bytes:
    head = struct.pack("<IIBQ", len(payload), unpacked, flags, xxh3_64_intdigest(payload))
    return MAGIC + head + payload


def test_a_small_file_does_not_unpack_to_a_large_one(tmp_path: Path) -> None:
    gigabytes = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    path = tmp_path / "a.snap"
    for unpacked in (1 << 28, COMPRESS_UP_TO_BYTES, 100):
        path.write_bytes(block(gigabytes, unpacked))
        with pytest.raises(Damaged, match=r"larger than blocks are|not as long as it says"):
            list(read_blocks(path))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00",
        struct.pack("<BIII", 0, 1, 1 << 31, 0),
        struct.pack("<BIII", 0, 1 << 31, 6, 0) + b"tabcde",
        struct.pack("<BIII", 0, 1, 6, 1 << 31) + b"tabcde",
        struct.pack("<BIII", 0, 1, 5, 0) + b"k" + struct.pack("<I", 1 << 31),
        struct.pack("<BIII", 0, 1, 13, 0) + b"k" + struct.pack("<IQ", 1, 1 << 63),
        struct.pack("<BIII", 0, 1, 5, 0) + pickle.dumps(1, 0) + b"p.",
        struct.pack("<BIII", 0, 1, 3, 0) + b"t\xff\xff",
    ],
)
def test_a_frame_that_lies_is_damaged(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(block(payload, len(payload), 0))
    with pytest.raises(Damaged, match="can't be read"):
        list(read_blocks(path))


def test_keys_are_read_as_they_were_written() -> None:
    for keys in (["a"], ["a", "b\0c", ""], [b"a", "a"], ["\ud800"], [b""], [], ["", ""], [""]):
        back = unpack_keys(pack_keys(keys))  # type: ignore[arg-type]
        assert list(zip(back, map(type, back), strict=True)) == [(k, type(k)) for k in keys]


def test_verify_counts_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All checksums are right, and a key is missing: what nobody noticed before."""
    folder = Folder(tmp_path)
    encoded = StateEncoder().encode([1, 2])
    writer = BlockWriter(tmp_path / "c00000001-w0-s.snap")
    writer.add([Group(pack_keys(["a", "b"]), encoded, 2, ahead=False)])
    file: FileInfo = writer.finish()
    folder.commit(manifest(1, chains=(chain((file,), ["a", "b"]),)))
    assert _run(["checkpoint", "verify", str(tmp_path)]) == 0
    for number, keys in ((2, ["a", "b", "c"]), (3, ["a", "c"])):
        folder.commit(manifest(number, chains=(chain((file,), keys),)))
    assert _run(["checkpoint", "verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "state s of worker 0 has 2 keys, and should have 3" in said
    assert "state s of worker 0 has 2 keys, and not the same ones" in said
