"""Durations and sizes, and that the schema takes the very texts that can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from roo.spec.schema import schema
from roo.spec.units import duration_s, size_bytes


@given(st.integers(0, 10**9), st.integers(0, 999))
def test_durations(whole: int, thousandths: int) -> None:
    assert duration_s(f"{whole}ms") == pytest.approx(whole / 1000)
    assert duration_s(f"{whole}s") == whole
    assert duration_s(f"{whole}m") == 60 * whole
    assert duration_s(f"{whole}.{thousandths:03}h") == pytest.approx(
        3600 * (whole + thousandths / 1000)
    )


@given(st.integers(1, 10**12 - 1))
def test_sizes(count: int) -> None:
    assert size_bytes(f"{count}B") == count
    for power, (decimal, binary) in enumerate([("KB", "KiB"), ("MB", "MiB"), ("GB", "GiB")], 1):
        assert size_bytes(f"{count}{decimal}") == count * 1000**power
        assert size_bytes(f"{count}{binary}") == count * 1024**power


@given(st.text(), st.sampled_from(["duration", "size"]))
def test_units_and_schema_take_the_same_texts(text: str, form: str) -> None:
    assert_same(text, form)


@given(st.sampled_from(["duration", "size"]), st.data())
def test_units_and_schema_take_the_same_near_misses(form: str, data: st.DataObject) -> None:
    assert_same(data.draw(st.from_regex(r"[0-9.]{0,3} ?(ms|s|m|h|K?i?B)\n?\Z")), form)


@pytest.mark.parametrize("text", ["0B", "007KiB", "1000000000000B"])
def test_sizes_that_the_schema_refuses_are_refused(text: str) -> None:
    assert_same(text, "size")


def assert_same(text: str, form: str) -> None:
    pattern = schema()["definitions"][form]["pattern"]
    valid = Draft7Validator({"pattern": pattern}).is_valid(text) and not text.endswith("\n")
    read = duration_s if form == "duration" else size_bytes
    if valid:
        assert read(text) >= 0
    else:
        with pytest.raises(ValueError, match=f"is not a {form}"):
            read(text)
