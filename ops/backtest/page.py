"""A backtest's report as one page of HTML."""

from pathlib import Path

from ops.backtest import pictures, words
from ops.backtest.report import Report
from ops.currencies import digits
from ops.page import document, key, section, table, tiles


def write_page(path: Path, report: Report) -> None:
    """Write the page; raises OSError."""
    path.write_text(page(report), "utf-8")


def page(report: Report) -> str:
    """Return the page."""
    title = f"Rules on {report.about['stream']}, {report.about['from']} to {report.about['to']}"
    told = [*words.summary(report), *words.failures(report)]
    return document(title, told, _sections(report))


def _sections(report: Report) -> list[str]:
    live = report.live is not None
    found = [
        section("", tiles(_figures(report))),
        section("What is found", table(words.found(report))),
    ]
    these, others = ("these", "these rules"), ("live", "live rules")
    drawn = report.pictures
    if drawn is not None:
        found.append(section("What it is worth", table(words.worth(report))))
        if live:
            name = "What changes against the live rules"
            found.append(section(name, table(words.changes(report))))
        picture = pictures.precision_recall(drawn)
        colours = key(these, *([others] if live else []))
        found.append(section("Precision by recall", picture + colours))
    made, changed = words.decided(report), words.decisions_changed(report)
    if made is not None:
        found.append(section("What is decided", table(made)))
    if changed is not None:
        found.append(section("What decisions change against the live ones", table(changed)))
    picture = pictures.alerts_by_day(report.days, report.labelled, live)
    bars = [("these", "on frauds"), ("wrong", "on others")] if report.labelled else [these]
    colours = key(*bars, *([others] if live else []))
    found.append(section("Alerts by day", picture + colours))
    if drawn is not None:
        picture = pictures.money_by_threshold(drawn, 10 ** digits(drawn.currency))
        if picture:
            colours = key(("these", "frauds stopped"), ("wrong", "wrongly stopped"))
            found.append(section("Money by threshold", picture + colours))
    return found


def _figures(report: Report) -> list[tuple[str, str]]:
    total = report.total
    told = [("alerts a day", words.figure(total["alerts_per_day"], 1))]
    if report.labelled:
        told += [
            ("precision", words.figure(total["precision"])),
            ("recall", words.figure(total["recall"])),
            ("average precision", words.figure(total["average_precision"])),
            ("AUC ROC", words.figure(total["auc_roc"])),
            ("card precision@100", words.figure(total["card_precision_100"])),
        ]
    return told
