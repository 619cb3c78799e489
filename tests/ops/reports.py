"""What verify's tests look for in a report, and how they break a table."""

import logging
from typing import Final

import polars as pl
from deltalake import write_deltalake

from ops.verify import Report

LOG: Final = logging.getLogger("tests")


def broken(report: Report) -> list[str]:
    """Return the names of the checks that do not hold; each of them must show examples."""
    found = [check for check in report.checks if not check.ok]
    for check in found:
        # Where it is a surprise, pytest shows what the flow had done.
        LOG.warning("%s", check)
    assert all(check.examples for check in found)
    return [check.name for check in found]


def spoil(uri: str, how: str) -> None:
    """Take a row out of a table, "lost", or have it there "twice"."""
    rows = pl.read_delta(uri)
    changed = rows[1:] if how == "lost" else pl.concat([rows, rows[:1]])
    write_deltalake(uri, changed, mode="overwrite")
