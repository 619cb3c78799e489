"""Words: what a decision was made for, in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from operators.columns.arrays import Bools, Floats, Int64s

LEVELS: Final = ("approve", "review", "block")
"""The decisions, the mildest first."""

WITHOUT_MODEL: Final = "Approved. Decided without the model."
"""What there is to say of what nothing was found on, while the model failed."""

PLAIN: Final = "Approved: no live rule hit it, no list has it, and a model had nothing to say."
"""What there is to say of a plain approval."""

_DONE: Final = {"approve": "Approved", "review": "To be reviewed", "block": "Blocked"}


@dataclass(frozen=True, slots=True)
class Said:
    """What there is to say of n decisions, shape (n,) each.

    `share` is the model's part of the score, `actions` are the levels of the rules' actions.
    """

    decision: Sequence[str]
    by: Sequence[str]
    listed: Sequence[str | None]
    score: Floats
    share: Floats
    at: Mapping[str, Floats]
    model: Floats
    failed: Bools
    actions: Int64s


def sentence(said: Said, row: int, hits: Sequence[Mapping[str, Any]]) -> str:
    """Return why one of the decisions was made; `hits` are its rules'."""
    decision, by = said.decision[row], said.by[row]
    parts = [f"{_DONE[decision]}{_why(said, row, hits, decision, by)}."]
    if hits:
        found = [
            f"{each['rule_id']} {number(each['score'])} ({each['reason']})" for each in hits
        ]
        if said.share[row]:
            found.append(f"the model {number(said.share[row])}")
        parts.append(f"Score {number(said.score[row])}: {'; '.join(found)}.")
    if said.failed[row]:
        parts.append("Decided without the model.")
    return " ".join(parts)


def _why(
    said: Said, row: int, hits: Sequence[Mapping[str, Any]], decision: str, by: str
) -> str:
    if by.endswith("list"):
        kind = by.partition(" ")[0]
        named = [
            item.split(":")[1:]
            for item in (said.listed[row] or "").split(" ")
            if item.startswith(kind)
        ]
        found = [f"its {column} is on {by} {name}" for name, column in named]
        return f": {' and '.join(found)}"
    if decision == "approve":
        least = min(said.at[name][row] for name in LEVELS[1:])
        return f": its score is below {number(least)}" if hits else ""
    least, score = said.at[decision][row], said.score[row]
    if by == "model" and said.model[row] >= said.at[f"model_{decision}"][row]:
        least = said.at[f"model_{decision}"][row]
        return f": the model's score, {number(said.model[row], 4)}, is {number(least)} or more"
    if by == "rules" and said.actions[row] == LEVELS.index(decision):
        names = sorted(hit["rule_id"] for hit in hits if hit["action"] == decision)
        return f": {' and '.join(names)} say{'s' * (len(names) == 1)} so"
    with_model = " with the model's part" if by == "model" else ""
    return f": its score{with_model}, {number(score)}, is {number(least)} or more"


def number(value: float, places: int = 2) -> str:
    """Return a number without zeros that say nothing."""
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
