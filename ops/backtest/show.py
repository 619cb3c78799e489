"""A backtest's report on a terminal."""

from rich.console import Console
from rich.table import Table

from ops.backtest import words
from ops.backtest.report import Report


def show(report: Report, console: Console) -> None:
    """Print the report."""
    for line in words.summary(report):
        console.print(line, highlight=False)
    grids = [words.found(report)]
    if report.labelled:
        grids.append(words.worth(report))
        if report.live is not None:
            grids.append(words.changes(report))
    grids += [each for each in (words.decided(report), words.decisions_changed(report)) if each]
    for grid in grids:
        table = Table(*grid.columns, box=None, pad_edge=False)
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        for row in grid.rows:
            table.add_row(*row)
        console.print()
        console.print(table)
    for line in words.failures(report):
        console.print(f"[red]✗[/] {line}", highlight=False)
