"""A finding: one thing wrong with a pipeline file, where it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from roo.spec.words import one_line


@dataclass(frozen=True, order=True)
class Finding:
    """Printed on one line as `file:line:column: code: what; hint`. Counts from 1.

    code: a short stable word in kebab-case, such as `unknown-option` or `bad-reference`.
    """

    file: str
    line: int
    column: int
    code: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.code}: {self.what}"
        return one_line(f"{text}; {self.hint}" if self.hint else text)


class InvalidPipeline(Exception):
    """A pipeline file with findings (at least one). Exit code 2."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings
