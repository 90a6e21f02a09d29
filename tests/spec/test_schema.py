"""The schema itself: valid, told to people in full, and within what the loader can explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from roo.spec.schema import schema

SCHEMA = schema()

# Errors of anyOf, oneOf, not and the like can't be told to a person.
KEYWORDS = """
    $schema $id $ref definitions title description examples default type enum const
    properties required additionalProperties patternProperties propertyNames items
    minItems minLength minProperties maxProperties minimum maximum exclusiveMinimum pattern
    allOf if then
"""


def rules(rule: Any, path: str = "#") -> Iterator[tuple[str, Any]]:
    """(path, rule) of every schema within the schema."""
    yield path, rule
    for keyword in ("properties", "patternProperties", "definitions"):
        for name, inner in rule.get(keyword, {}).items():
            yield from rules(inner, f"{path}/{keyword}/{name}")
    for keyword in ("items", "additionalProperties", "propertyNames", "if", "then"):
        if isinstance(rule.get(keyword), dict):
            yield from rules(rule[keyword], f"{path}/{keyword}")
    for index, inner in enumerate(rule.get("allOf", [])):
        yield from rules(inner, f"{path}/allOf/{index}")


def resolved(rule: Any) -> Any:
    name = rule.get("$ref", "").rpartition("/")[2]
    return SCHEMA["definitions"][name] if name else rule


RULES = dict(rules(SCHEMA))
PROPERTIES = {
    path: resolved(rule)
    for path, rule in RULES.items()
    if path.split("/")[-2:-1] == ["properties"] and "/if/" not in path
}
WITH_EXAMPLES = {path: rule for path, rule in RULES.items() if "examples" in rule}


def test_is_draft_07() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", RULES)
def test_only_keywords_that_can_be_explained(path: str) -> None:
    assert set(RULES[path]) <= set(KEYWORDS.split())


def test_references_stand_alone_and_lead_somewhere() -> None:
    """Draft 7 ignores whatever stands beside a $ref."""
    references = [rule for rule in RULES.values() if "$ref" in rule]
    assert references
    for rule in references:
        assert list(rule) == ["$ref"]
        assert resolved(rule)


def test_definitions_are_used() -> None:
    used = {rule["$ref"].rpartition("/")[2] for rule in RULES.values() if "$ref" in rule}
    # These two are the words for values whose options describe themselves.
    assert set(SCHEMA["definitions"]) - used == {"reference", "duration", "size"}


@pytest.mark.parametrize("path", PROPERTIES)
def test_properties_are_described(path: str) -> None:
    rule = PROPERTIES[path]
    assert rule["title"]
    assert rule["description"].endswith(".")
    assert isinstance(rule["examples"], list)
    assert rule["examples"]


@pytest.mark.parametrize("path", WITH_EXAMPLES)
def test_examples_are_valid(path: str) -> None:
    rule = WITH_EXAMPLES[path]
    validator = Draft7Validator({**rule, "definitions": SCHEMA["definitions"]})
    values = [*rule["examples"], *([rule["default"]] if "default" in rule else [])]
    for value in values:
        assert list(validator.iter_errors(value)) == []


@pytest.mark.parametrize("path", RULES)
def test_mappings_are_closed(path: str) -> None:
    """Misspelt options are found: a mapping with options takes no others."""
    rule = RULES[path]
    if "properties" in rule and "allOf" not in rule and "/if" not in path:
        assert rule["additionalProperties"] is False
    if "allOf" in rule and "properties" in rule:
        kinds = [kind for branch in rule["allOf"] for kind in kinds_of(branch["if"])]
        assert kinds == rule["properties"]["type"]["enum"]


def kinds_of(condition: Any) -> list[Any]:
    wanted = condition["properties"]["type"]
    return list(wanted["enum"]) if "enum" in wanted else [wanted["const"]]
