"""`core` decides and never does: it imports nothing that could do anything."""

import ast
from pathlib import Path

import roo.core

FORBIDDEN = {
    "zmq", "os", "sys", "io", "time", "threading", "random", "logging", "socket", "asyncio",
    "subprocess", "pathlib", "signal", "secrets", "datetime", "multiprocessing", "select",
}  # fmt: skip
CORE = sorted(Path(roo.core.__path__[0]).glob("*.py"))


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_core_has_files_to_look_at() -> None:
    assert len(CORE) >= 5


def test_core_imports_nothing_that_does() -> None:
    for file in CORE:
        for name in imports(file):
            assert name.partition(".")[0] not in FORBIDDEN, f"{file.name} imports {name}"
            if name.startswith("roo"):
                assert name.startswith("roo.core"), f"{file.name} imports {name}"
