import json
from datetime import UTC, datetime

import pytest

from operators.control.changes import DELAY, ChangeError, Entry, read_change, written
from tests.operators.rules.samples import GOOD, rule

ENTRY = {
    "list": "stolen", "kind": "block", "column": "card_id", "value": "4/7", "owner": "desk",
    "reason": "told by its owner", "expires": "2030-01-01T00:00:00Z",
}  # fmt: skip


def stated(kind: str, name: str, content: object, **more: object) -> tuple[bytes, bytes]:
    told = {"kind": kind, "name": name, "who": "eve", "why": "so", "is": content} | more
    return f"{kind}/{name}".encode(), json.dumps(told).encode()


def test_what_is_written_is_read_and_holds_a_while_after_its_time() -> None:
    entry = Entry.model_validate(ENTRY)
    later = datetime(2029, 1, 1, tzinfo=UTC)
    for kind, name, content in (
        ("rule", "r", rule(rollout="5%", bounds={"hits_per_1000": 5, "over": "1h"})),
        ("entry", "stolen/card_id/4/7", entry),
        ("threshold", "review", 40.0),
        ("rule", "r", None),
    ):
        key, value = written(kind, name, content, "eve", "so")
        change = read_change(7, 1_000, key, value)
        assert (change.content, change.who, change.why) == (content, "eve", "so")
        assert (change.offset, change.begins, change.key) == (7, 1_000 + DELAY, key.decode())
        scheduled = read_change(7, 1_000, *written(kind, name, content, "eve", "so", later))
        assert scheduled.begins == int(later.timestamp()) * 1_000_000
    assert read_change(0, 0, b"rule/r", None).content is None
    assert entry.item == "block:stolen:card_id"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ((b"x", b"{"), "no JSON"),
        ((b"x", b"[]"), "valid dictionary"),
        ((b"what/x", None), "kind: "),
        (stated("rule", "q", GOOD), "it is of r, and called q"),
        (stated("rule", "r", GOOD | {"wen": "x"}), "wen: "),
        ((b"rule/q", stated("rule", "r", GOOD)[1]), "its key is not rule/r"),
        ((None, stated("rule", "r", GOOD)[1]), "its key is not rule/r"),
        (stated("threshold", "t", "4"), "a threshold is a number"),
        (stated("threshold", "t", value=True, content=None), "value: "),
        (stated("threshold", "t", 4, begins="2029-01-01T00:00:00"), "begins: "),
        (stated("entry", "stolen/card_id/4/7", ENTRY | {"overrides": True}), "only what allows"),
        (stated("entry", "stolen/card_id/4/7", {k: v for k, v in ENTRY.items() if k != "expires"}),
         "expires: Field required"),
        (stated("entry", "stolen/card_id/4", ENTRY), "it is of stolen/card_id/4/7"),
        (stated("entry", "a b/card_id/4/7", ENTRY | {"list": "a b"}), "list: "),
    ],
)  # fmt: skip
def test_what_says_nothing_that_can_hold_is_refused(
    record: tuple[bytes | None, bytes | None], why: str
) -> None:
    with pytest.raises(ChangeError) as refused:
        read_change(0, 0, *record)
    assert why in str(refused.value)
