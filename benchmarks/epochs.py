"""Epochs: how long a run's commits took, as its tables tell."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

_BEGAN: Final = "written_at"


@dataclass
class Epochs:
    """Milliseconds of each commit of rows, and of all those of an epoch, during which none reads.

    A commit begins where its rows say that they were written, and ends with the log's file.
    """

    commits: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)

    def look(self, root: Path) -> None:
        """Add those of the tables in a folder, which are of one run."""
        by_epoch: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for log in root.glob("**/_delta_log/*.json"):
            actions = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
            told = [each["commitInfo"] for each in actions if "commitInfo" in each]
            files = [each["add"]["path"] for each in actions if "add" in each]
            if not files:
                continue
            epoch = json.loads(told[0]["userMetadata"])["epoch"]
            began = _began(log.parents[1] / files[0])
            by_epoch[epoch].append((began, log.stat().st_mtime))
        for spans in by_epoch.values():
            self.commits += [1000 * (end - began) for began, end in spans]
            begins, ends = zip(*spans, strict=True)
            self.epochs.append(1000 * (max(ends) - min(begins)))


def _began(path: Path) -> float:
    """Return when the rows of a file say they were written, all at once, in s since 1970."""
    footer: Any = pq.read_metadata(path)
    at = footer.schema.names.index(_BEGAN)
    return float(footer.row_group(0).column(at).statistics.min.timestamp())
