"""Records of a control topic: rules, lists and thresholds as people change them, and nonsense."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from flows.streams.payments import PAYMENTS
from operators.control.changes import Content, Entry, Kind, written
from operators.rules.rule import Rule
from operators.rules.rules import load_rules

Record = tuple[bytes, bytes]

_OWN: Final = """\
id: {name}
version: 1
description: {name}, whose payments are told by what changes while flows run.
severity: low
when: {when}
score: "20"
reason: "{{amount_minor}} minor units"
{more}
cases: [{{name: any, payments: [{{amount_minor: 1}}], alerts: []}}]
"""
_NOISY: Final = "noisy"
_RULES: Final = {
    "stolen": "card_id IN LIST 'stolen'",
    "far": "country NOT IN LIST 'near' AND amount_minor > 4000",
    "crowd": "terminal_cards_1h >= 2",
    "reported": "terminal_frauds_7d >= 1",
    _NOISY: "amount_minor > 1000",
}
_BOUNDS: Final = "bounds: {hits_per_1000: 500, over: 1d, at_least: 40}"
_TUNED: Final[dict[str, Callable[[random.Random], str]]] = {
    "amount_limit": lambda luck: f"amount_minor > {luck.randrange(4_000, 15_000)}",
    "velocity": lambda luck: f"card_count_10m >= {luck.randint(1, 4)}",
    "crowd": lambda luck: f"terminal_cards_1h >= {luck.randint(1, 3)}",
    "reported": lambda luck: f"terminal_fraud_share_30d > {luck.random():.2f}",
    "stolen": lambda luck: (
        f"card_id IN LIST 'stolen' AND amount_minor > {luck.randrange(3000)}"
    ),
}


def rules_to_change(folder: Path) -> None:
    """Write a folder of rules: the stream's, its drafts as live ones with their features, and own.

    They read features by the card, by other keys and from labels, and lists.
    """
    (folder / "features").mkdir(parents=True)
    stated = PAYMENTS.rules
    assert stated is not None
    drafts = stated.parent / "drafts"
    for path in [*stated.glob("*.yaml"), *drafts.glob("*.yaml"), *drafts.glob("features/*")]:
        text = path.read_text().replace("status: draft", "status: live")
        (folder / path.relative_to(drafts if drafts in path.parents else stated)).write_text(
            text
        )
    for name, when in _RULES.items():
        more = _BOUNDS if name == _NOISY else ""
        (folder / f"{name}.yaml").write_text(_OWN.format(name=name, when=when, more=more))


class Changing:
    """Makes changes, one after the other, of the rules of a folder and of what events have."""

    def __init__(self, luck: random.Random, rules: Path, events: pl.DataFrame) -> None:
        self._luck = luck
        self._files = {each.id: each for each in load_rules(rules)}
        self._rules = dict(self._files)
        self._versions = dict.fromkeys(self._files, 1)
        often = {name: events[name].value_counts(sort=True)[name][:40].to_list()
                 for name in ("card_id", "terminal_id", "country")}  # fmt: skip
        self._values = often
        self._entries: dict[str, Entry] = {}

    def next(self) -> Record:
        """Return the record of a change that is made now."""
        make = self._luck.choice(
            [self._push, self._stand, self._stand, self._back, self._list, self._list, self._list,
             self._unlist, self._threshold, self._nonsense]
        )  # fmt: skip
        return make()

    def last(self) -> Record:
        """Return the record that pauses the rule that would else pause itself."""
        return self._written(
            "rule", _NOISY, self._files[_NOISY].model_copy(update={"status": "paused"})
        )

    def _written(self, kind: Kind, name: str, content: Content) -> Record:
        later = timedelta(seconds=self._luck.uniform(5, 25))
        begins = datetime.now(UTC) + later if self._luck.random() < 0.2 else None
        return written(kind, name, content, "somebody", "it is tried", begins)

    def _rule(self, rule: Rule) -> Record:
        self._rules[rule.id] = rule
        return self._written("rule", rule.id, rule)

    def _push(self) -> Record:
        name = self._luck.choice([*_TUNED])
        self._versions[name] += 1
        more = {"when": _TUNED[name](self._luck), "version": self._versions[name]}
        return self._rule(self._rules[name].model_copy(update=more))

    def _stand(self) -> Record:
        rule = self._rules[self._luck.choice([*_TUNED, *_RULES])]
        status, rollout = self._luck.choice(
            [("paused", None), ("shadow", None), ("live", None), ("live", "30%")]
        )
        return self._rule(rule.model_copy(update={"status": status, "rollout": rollout}))

    def _back(self) -> Record:
        name = self._luck.choice([*_TUNED])
        self._rules[name] = self._files[name]
        return self._written("rule", name, None)

    def _list(self) -> Record:
        column = self._luck.choice([*self._values])
        kind = self._luck.choice(["block", "allow", "watch"])
        entry = Entry(
            list=self._luck.choice(["stolen", "near", "odd"]),
            kind=kind,
            column=column,
            value=self._luck.choice(self._values[column]),
            owner="fraud desk",
            reason="it is tried",
            expires=datetime.now(UTC) + timedelta(seconds=self._luck.uniform(10, 90)),
            overrides=kind == "allow" and self._luck.random() < 0.5,
        )
        self._entries[entry.name] = entry
        return self._written("entry", entry.name, entry)

    def _unlist(self) -> Record:
        if not self._entries:
            return self._list()
        name = self._luck.choice([*self._entries])
        del self._entries[name]
        return self._written("entry", name, None)

    def _threshold(self) -> Record:
        name, low, high = self._luck.choice([("review", 10, 90), ("block", 60, 200)])
        value = None if self._luck.random() < 0.2 else float(self._luck.randint(low, high))
        return self._written("threshold", name, value)

    def _nonsense(self) -> Record:
        return self._luck.choice(
            [(b"rule/velocity", b"nothing"), (b"threshold/review", b'{"kind": "rule"}')]
        )
