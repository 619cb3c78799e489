"""Checks of the doctor: in an order in which each needs only what those before it have found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flows.ending import known
from operators.errors import KnownError
from ops.advice import divided

State = Literal["ok", "wrong", "note", "not tried"]


class NoteError(KnownError):
    """What is not as it should be, and keeps no flow from running."""


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do about it where it is not right."""

    name: str
    state: State
    said: str
    to_do: str = ""


@dataclass(frozen=True)
class Question:
    """Something to look at: `ask` returns what is there, or raises what a start would.

    It is asked only if all those it `needs` were answered well; they are named.
    """

    name: str
    ask: Callable[[], str]
    needs: Sequence[str] = ()


def answers(questions: Sequence[Question]) -> Iterator[Check]:
    """Ask one after the other."""
    failed: set[str] = set()
    for each in questions:
        check = _answer(each, failed)
        if check.state in ("wrong", "not tried"):
            failed.add(each.name)
        yield check


def _answer(question: Question, failed: set[str]) -> Check:
    for need in question.needs:
        if need in failed:
            return Check(question.name, "not tried", f"needs: {need}")
    try:
        return Check(question.name, "ok", question.ask())
    except Exception as error:  # any of the libraries': `known` tells faults of ours apart
        line = known(error)
        if line is None:
            raise
        state: State = "note" if isinstance(error, NoteError) else "wrong"
        return Check(question.name, state, *divided(line))


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checks as JSON values, with what is to mend in its order."""
    return {
        "ok": all(each.state in ("ok", "note") for each in checks),
        "checks": [dict(vars(each)) for each in checks],
        "to_do": [each.to_do or each.said for each in checks if each.state == "wrong"],
    }
