"""Which changes are those by which a rule has paused itself."""

from operators.control.changes import Change
from operators.control.pauses import AUTHOR, LEFT, Pauses
from operators.rules.rule import Rule
from tests.operators.rules.samples import rule


def change(content: Rule | None, who: str = f"{AUTHOR}0", why: str = f"{LEFT}often") -> Change:
    return Change(0, 0, 0, "rule", content.id if content else "r", who, why, content)


def told(*changes: Change) -> list[bool]:
    pauses = Pauses()
    return [pauses.add(each) for each in changes]


def test_of_several_processes_that_pause_a_rule_the_first_does() -> None:
    paused = rule().model_copy(update={"status": "paused"})
    again = change(paused, who=f"{AUTHOR}1", why=f"{LEFT}even more often")
    assert told(change(paused), again, again) == [True, False, False]
    # Once somebody has changed it in between, it is paused anew; so is another version.
    promoted = change(rule(), who="eve", why="tried")
    assert told(change(paused), promoted, again) == [True, False, True]
    assert told(change(paused), change(None, "eve", "worse"), again) == [True, False, True]
    newer = paused.model_copy(update={"version": 2})
    assert told(change(paused), change(newer)) == [True, True]


def test_what_people_do_is_no_such_change() -> None:
    paused = rule().model_copy(update={"status": "paused"})
    assert told(change(paused, who="eve"), change(paused, why="noisy")) == [False, False]
    assert told(change(rule()), change(None)) == [False, False]
    threshold = Change(0, 0, 0, "threshold", "review", f"{AUTHOR}0", f"{LEFT}often", 1.0)
    assert told(threshold) == [False]
