"""What a verification found: a list of checks, each with what breaks it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import polars as pl

SHOWN: Final = 10
"""How many offending rows a check names."""


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about the books; it holds if no row offends against it.

    `deleted` rows could not be compared, `because` retention has deleted what they belong to.
    """

    name: str
    compared: int
    offending: int
    examples: list[dict[str, Any]] = field(default_factory=list)
    deleted: int = 0
    because: str = "deleted by retention"

    @property
    def ok(self) -> bool:
        """Tell whether the statement holds."""
        return self.offending == 0

    @classmethod
    def of(
        cls,
        name: str,
        compared: int,
        offending: pl.DataFrame,
        deleted: int = 0,
        because: str = "deleted by retention",
    ) -> "Check":
        """Make a check from its offending rows."""
        examples = offending.head(SHOWN).to_dicts()
        return cls(name, compared, offending.height, examples, deleted, because)


def summed(checks: Iterable[Check]) -> Check:
    """Return a statement about all rows of what was found of it in pieces, at least one."""
    first, *others = checks
    for each in others:
        first = replace(
            first,
            compared=first.compared + each.compared,
            offending=first.offending + each.offending,
            examples=[*first.examples, *each.examples][:SHOWN],
            deleted=first.deleted + each.deleted,
        )
    return first


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, and counts for a summary."""

    checks: list[Check]
    counts: dict[str, int]
    alerts: dict[str, int]

    @property
    def ok(self) -> bool:
        """Tell whether every check holds."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, times as text."""
        return {
            "ok": self.ok,
            "counts": self.counts,
            "alerts": self.alerts,
            "checks": [{"ok": check.ok, **asdict(check)} for check in self.checks],
        }


def only_once(
    name: str,
    expected: pl.DataFrame,
    actual: pl.DataFrame,
    *,
    deleted: int = 0,
    may_lack: int = 0,
) -> Check:
    """Check that two frames hold the same rows, each once, in any order.

    Offending rows carry `problem`: "missing" from `actual`, "unexpected" in it, or the number
    of times they are there. `deleted` rows were left out of both. Up to `may_lack` may be
    missing, which then count as deleted: so many are not in a topic any more, and which they
    were nobody can say.
    """
    keys = expected.columns
    counts = actual.select(keys).group_by(keys).len("times")
    missing = expected.join(counts, on=keys, how="anti", nulls_equal=True)
    unexpected = counts.join(expected, on=keys, how="anti", nulls_equal=True)
    repeated = counts.filter(pl.col("times") > 1)
    compared = expected.height
    if missing.height <= may_lack:
        compared -= missing.height
        deleted += missing.height
        missing = missing.clear()
    offending = pl.concat(
        [
            missing.with_columns(problem=pl.lit("missing")),
            unexpected.select(*keys, problem=pl.lit("unexpected")),
            repeated.select(*keys, problem=pl.format("there {} times", "times")),
        ]
    )
    return Check.of(name, compared, offending, deleted)
