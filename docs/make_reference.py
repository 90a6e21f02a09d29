"""Writes docs/pipeline-file.md from schemas/pipeline.schema.json: `python docs/make_reference.py`.

One section for each mapping of the file, with a table of its options. The schema is the only place
where an option is described; tests/spec/test_reference.py says when the page is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "schemas" / "pipeline.schema.json"
PAGE = ROOT / "docs" / "pipeline-file.md"

INTRODUCTION = """\
# The pipeline file

Every option, in tables. [examples.md](examples.md) shows whole files at work.

- Options without a default that are not marked **required** are simply left out.
- `from` may be left out too: a step reads the step before it, or else the only source; a sink reads
  the last step.
- `errors` of a source, step or sink stands in for the file's own, and keeps its `sink` unless it
  names another.
- The environment stands in texts as `${V}`, `${V:-default}` or `${V:?message}` (the run ends with
  that message when there is no V); `$${` stands for `${`. Never in names, code references or tests.
- `--set path=value` changes one value for one run: `--set cluster.workers=3`,
  `--set steps.count.with.limit=5`.
- What a stateful step returns is handed on as it is then: its state may go on changing it. Several
  that read one step are given a copy each. (A generator that yields one object again and again,
  each time changed, has to yield copies.)
- `roo validate FILE` prints all that is wrong as `file:line:column: code: what; hint`.

<!-- Written by docs/make_reference.py from schemas/pipeline.schema.json: change it there. -->
"""

# Words for values that have a form of their own; they are explained in the last section.
FORMS = ("name", "reference", "duration", "size")

# Mappings in the order of the page, each followed by its kinds.
ORDER = (
    *("source", "source_file", "source_stdin", "source_tcp", "source_generate", "source_plugin"),
    *("state", "keys", "step", "step_stateless", "step_stateful"),
    *("sink", "sink_file", "sink_stdout", "sink_tcp", "sink_null", "sink_plugin"),
    *("codec_options", "errors", "test"),
)

TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


def page(schema: dict[str, Any]) -> str:
    """The whole page, as Markdown."""
    return "\n".join([INTRODUCTION, *Reference(schema).lines()]).rstrip("\n") + "\n"


class Reference:
    """Lines of Markdown about a schema. Raises KeyError for a mapping that ORDER leaves out."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._definitions: dict[str, Any] = schema["definitions"]
        self._forms = {self._definitions[form]["pattern"]: form for form in FORMS}
        self._anchors = {name: _anchor(self._definitions[name]["title"]) for name in ORDER}

    def lines(self) -> Iterator[str]:
        """Every section."""
        yield from self._section("The file", self._schema, "##")
        for title, rule in self._inline():
            yield from self._section(title, rule, "##")
        for name in ORDER:
            rule = self._definitions[name]
            if "allOf" in rule:
                yield from self._kinds(rule)
            else:
                yield from self._section(rule["title"], rule, "###" if "_" in name else "##")
        yield from ("## Forms of values", "", "| form | what | example |", "|---|---|---|")
        for form in FORMS:
            rule = self._definitions[form]
            yield _row(rule["title"].lower(), rule["description"], _examples(rule))

    def _inline(self) -> Iterator[tuple[str, Any]]:
        """The mappings that are described where they stand, each followed by those within it."""
        waiting = list(self._schema["properties"].values())
        while waiting:
            rule = waiting.pop(0)
            if "properties" in rule:
                yield rule["title"], rule
                waiting[:0] = rule["properties"].values()

    def _section(self, title: str, rule: Any, heading: str) -> Iterator[str]:
        yield from (f"{heading} {title}", "", rule["description"], "")
        yield from ("| option | type | default | what | example |", "|---|---|---|---|---|")
        for name, option in rule["properties"].items():
            resolved = self._resolved(option)
            default = f"`{_value(resolved['default'])}`" if "default" in resolved else ""
            if name in rule.get("required", []):
                default = "**required**"
            what = resolved["description"]
            yield _row(f"`{name}`", self._type(option), default, what, _examples(resolved))
        yield ""

    def _kinds(self, rule: Any) -> Iterator[str]:
        yield from (f"## {rule['title']}", "", rule["description"], "")
        yield from ("| `type` | what |", "|---|---|")
        for branch in rule["allOf"]:
            wanted = branch["if"]["properties"]["type"]
            kind = wanted["const"] if "const" in wanted else wanted["enum"][0]
            name = branch["then"]["$ref"].rpartition("/")[2]
            what = self._definitions[name]["description"]
            yield _row(f"[`{kind}`](#{self._anchors[name]})", what)
        yield ""

    def _type(self, rule: Any) -> str:
        """What may stand there, in words; links lead to the mapping that is meant."""
        name = rule.get("$ref", "").rpartition("/")[2]
        if name in self._anchors:
            return f"[{self._definitions[name]['title'].lower()}](#{self._anchors[name]})"
        if name == "codec":
            kinds = self._resolved(rule)["allOf"][0]["then"]["enum"]
            options = self._anchors["codec_options"]
            return f"{_choice(kinds)}, or a [mapping](#{options})"
        rule = self._resolved(rule)
        if "const" in rule:
            return f"`{_value(rule['const'])}`"
        if "enum" in rule:
            return _choice(rule["enum"])
        if rule.get("pattern") in self._forms:
            form = self._definitions[self._forms[rule["pattern"]]]
            return f"[{form['title'].lower()}](#forms-of-values)"
        if "properties" in rule:
            return f"[{rule['title'].lower()}](#{_anchor(rule['title'])})"
        inner = rule.get("additionalProperties")
        if isinstance(inner, dict):
            return f"mapping of names to {self._many(inner)}"
        if rule["type"] == "array":
            return f"list of {self._many(rule['items'])}"
        types = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        return " or ".join(TYPES[t] for t in types) + _range(rule)

    def _many(self, rule: Any) -> str:
        name = rule.get("$ref", "").rpartition("/")[2]
        if name in self._anchors:
            return f"[{self._definitions[name]['title'].lower()}s](#{self._anchors[name]})"
        return {"string": "texts", "array": "lists", "integer": "whole numbers"}[rule["type"]]

    def _resolved(self, rule: Any) -> Any:
        name = rule.get("$ref", "").rpartition("/")[2]
        return self._definitions[name] if name else rule


def _range(rule: Any) -> str:
    if "minimum" in rule and "maximum" in rule:
        return f", {rule['minimum']} to {rule['maximum']}"
    if "minimum" in rule:
        return f", at least {rule['minimum']}"
    return f", more than {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else ""


def _choice(values: list[Any]) -> str:
    # dict.fromkeys: `null` is both a text and YAML's own word.
    return ", ".join(dict.fromkeys(f"`{_value(value)}`" for value in values))


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _examples(rule: Any) -> str:
    return ", ".join(f"`{_value(example)}`" for example in rule["examples"])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _anchor(title: str) -> str:
    """The anchor that a Markdown renderer makes of a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(json.loads(SCHEMA.read_text())))


if __name__ == "__main__":
    main()
