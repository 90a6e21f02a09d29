"""Whether a function can be called the way Roo will call it."""

from __future__ import annotations

from typing import Any

import pytest

from roo.plan.resolve import BadReference, Shape, inspect_call


def anything(message: Any, state: Any, **given: Any) -> None: ...


def wants_key(message: Any, state: Any, key: str) -> None: ...


def step(*keywords: str) -> Shape:
    return Shape(("message", "state"), keywords, "a stateful step", may_take_key=True)


@pytest.mark.parametrize("name", ["class", "my-limit", "", "1st"])
def test_what_stands_under_with_must_be_the_name_of_a_parameter(name: str) -> None:
    with pytest.raises(BadReference) as bad:
        inspect_call(anything, "m:anything", step("limit", name))
    assert bad.value.code == "wrong-parameters"
    assert f"`with` has '{name}'" in bad.value.what


def test_a_key_comes_from_one_place() -> None:
    assert inspect_call(wants_key, "m:wants_key", step())
    assert not inspect_call(anything, "m:anything", step("key"))
    with pytest.raises(BadReference) as bad:
        inspect_call(wants_key, "m:wants_key", step("key"))
    assert bad.value.code == "wrong-parameters"
