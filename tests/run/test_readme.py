"""The README's own pipeline does what the README shows; a wheel works in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import copy, copytree
from zipfile import ZipFile

import pytest

from tests.run.harness import run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def hello(folder: Path) -> str:
    """Write the README's two files; its text."""
    text = (ROOT / "README.md").read_text()
    for name, kind in (("hello.yaml", "yaml"), ("hello.py", "python")):
        block = re.search(rf"`{name}`:\n\n```{kind}\n(.*?)```", text, re.DOTALL)
        assert block, f"the README shows no {name}"
        (folder / name).write_text(block[1])
    return text


def test_the_readme_s_pipeline(tmp_path: Path) -> None:
    text = hello(tmp_path)
    tested = run(tmp_path, "test", "hello.yaml")
    assert tested.returncode == 0, tested.stdout
    assert tested.stdout.splitlines()[0] in text
    done = run(tmp_path, "run", "hello.yaml", "--workers", "2", stdin="Ada\nGrace\nAda\n")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert sorted(lines) == sorted(["Hello, Ada!", "Welcome back, Ada (2)!", "Hello, Grace!"])
    assert lines.index("Hello, Ada!") < lines.index("Welcome back, Ada (2)!")
    assert all(line in text for line in lines)


def test_every_make_target_of_the_readme_exists() -> None:
    wanted = re.findall(r"^\$ make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert wanted
    for target in wanted:
        assert f"\n{target}:" in makefile


def test_a_wheel_holds_one_package_and_works_in_an_empty_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for part in ("runner", "schemas"):
        copytree(ROOT / part, source / part)
    for file in ("pyproject.toml", "README.md"):
        copy(ROOT / file, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, source], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert {n.partition("/")[0] for n in names if ".dist-info" not in n} == {"roo"}
    assert {"roo/py.typed", "roo/schemas/pipeline.schema.json"} <= set(names)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "--quiet", "install", "--no-deps", wheel], check=True)
    # The dependencies are those of this environment; the package must be the wheel's.
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    hello(folder)
    done = subprocess.run(
        [tmp_path / "venv/bin/roo", "run", "hello.yaml"], cwd=folder, input=b"Ada\n",
        capture_output=True, timeout=180,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"Hello, Ada!\n"), done.stderr
    where = subprocess.run(
        [python, "-c", "import roo; print(roo.__file__)"], cwd=folder, capture_output=True
    )
    assert str(site) in where.stdout.decode()
