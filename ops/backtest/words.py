"""A backtest's report in words and tables of words, for a terminal and a page."""

from collections.abc import Mapping
from typing import Any, Final

from operators.rules.status import said
from ops.backtest.report import Report
from ops.currencies import digits
from ops.page import Grid

BUCKETS: Final = {
    "fraud_caught": "fraud caught",
    "fraud_missed": "fraud missed",
    "good_blocked": "good blocked",
    "good_passed": "good passed",
}
"""The four buckets of events, and what they are called."""

_STOPPED: Final = {"block": "block", "review": "review and block"}
DECISIONS: Final = {"approve": "approved", "review": "reviewed", "block": "blocked"}

_CHANGED: Final = ("live", "these", "more", "fewer", "amount, live", "these")


def in_words(amounts: Mapping[str, int]) -> str:
    """Return amounts of minor units by currency as texts; those of nothing are left out."""
    told = [
        f"{amount / 10 ** digits(currency):,.0f} {currency}".strip()
        for currency, amount in amounts.items()
        if amount
    ]
    return ", ".join(told) or "0"


def figure(value: float | None, places: int = 3) -> str:
    """Return a figure as text, a dash for none."""
    return "-" if value is None else f"{value:,.{places}f}"


def summary(report: Report) -> list[str]:
    """Return what the rules were run over, in sentences."""
    about = report.about
    name = about["stream"]
    rate = about["read"] / max(about["seconds"], 0.001)
    told = [
        f"{about['events']:,} {name} of {about['from']} to {about['to']} ({about['days']} days), "
        f"of {about['read']:,} read from {about['source']} in {about['seconds']:.1f} s "
        f"({rate * 60:,.0f} a minute)",
    ]
    if report.labelled:
        told.append(
            f"labels: {about['labels']}; {about['frauds']:,} frauds"
            + (
                f", {about['unlabelled']:,} without a label, good"
                if about["unlabelled"]
                else ""
            )
        )
        judged = (
            f"judged: {about['judged']:,} {name} with {about['judged_frauds']:,} frauds, "
            f"{in_words(about['money_of_frauds'])}"
        )
        if about["judged"] < about["events"]:
            judged += "; the others' cards were known as compromised"
        told.append(judged)
    return told + list(about["notes"])


def found(report: Report) -> Grid:
    """Return how much each rule finds, and how well."""
    columns = ["", "alerts/day"]
    names = ["precision", "recall", "average_precision", "auc_roc", "card_precision_100"]
    if report.labelled:
        columns += ["precision", "recall", "AP", "AUC", "CP@100"]
    if report.live is not None:
        columns.append("as live")
    rows = []
    for name, row in _rows(report).items():
        cells = [name, figure(row["alerts_per_day"], 1)]
        if report.labelled:
            cells += [figure(row[each]) for each in names]
        if report.live is not None:
            share = row.get("overlap", {}).get("share")
            cells.append("" if share is None else f"{share:.0%}")
        rows.append(cells)
    return Grid(columns, rows)


def worth(report: Report) -> Grid:
    """Return what the alerts of each rule are worth."""
    columns = ["", "frauds", "stopped", "wrongly stopped", "good customers hit"]
    rows = [
        [
            name,
            f"{row['frauds_caught']:,}",
            in_words(row["money_stopped"]),
            in_words(row["money_wrongly_stopped"]),
            f"{row['good_customers_hit']:,}",
        ]
        for name, row in _rows(report).items()
    ]
    return Grid(columns, rows)


def changes(report: Report) -> Grid:
    """Return the four buckets, with the live rules and with these."""
    return Grid(["", *_CHANGED], _buckets(report.total["changes"]))


def _buckets(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for key, name in BUCKETS.items():
        each = found[key]
        counts = (f"{each[n]['count']:,}" for n in ("before", "after", "more", "fewer"))
        amounts = (in_words(each[n]["money"]) for n in ("before", "after"))
        rows.append([name, *counts, *amounts])
    return rows


def decided(report: Report) -> Grid | None:
    """Return how many are approved, reviewed and blocked, and by what; None if nothing decides."""
    made = report.decisions
    if made is None:
        return None
    live = made["live"]
    columns = ["decisions", "a day"]
    if report.labelled:
        columns += ["frauds", "good"]
    if live is not None:
        columns += ["live, a day", *(["frauds", "good"] if report.labelled else [])]
    rows = []
    for level, name in DECISIONS.items():
        each = made[level]
        cells = [name, figure(each["per_day"], 1)]
        if report.labelled:
            cells += [f"{each[what]:,}" for what in ("frauds", "good")]
        if live is not None:
            cells.append(figure(live[level]["per_day"], 1))
            if report.labelled:
                cells += [f"{live[level][what]:,}" for what in ("frauds", "good")]
        rows.append(cells)
    days = report.about["days"]
    for name, count in made["decided_by"].items():
        theirs = 0 if live is None else live["decided_by"][name]
        if count or theirs:
            cells = [f"by {name}", figure(count / days, 1), *[""] * (len(columns) - 2)]
            if live is not None:
                cells[columns.index("live, a day")] = figure(theirs / days, 1)
            rows.append(cells)
    return Grid(columns, rows)


def decisions_changed(report: Report) -> Grid | None:
    """Return the four buckets by decisions, with the live ones and with these; None without."""
    made = report.decisions
    if made is None or "changes" not in made:
        return None
    rows = []
    for least, stopped in _STOPPED.items():
        rows.append([stopped, *[""] * len(_CHANGED)])
        rows += _buckets(made["changes"][least])
    return Grid(["if these stop", *_CHANGED], rows)


def failures(report: Report) -> list[str]:
    """Return what is to be said of rules that failed on events."""
    return [
        f"{name} fails on {row['failures']:,} {report.about['stream']}; live they are rejects"
        for name, row in report.rules.items()
        if row["failures"]
    ]


def _rows(report: Report) -> dict[str, dict[str, Any]]:
    rows = {
        name + said(row["status"], row["rollout"]): row for name, row in report.rules.items()
    }
    if report.model is not None and report.rules_alone is not None:
        rows["rules together"] = report.rules_alone
        rows[f"model {report.model['name']}"] = report.model
    rows["all together"] = report.total
    return rows if report.live is None else rows | {"live rules": report.live}
