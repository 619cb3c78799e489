"""Epochs: how long a run's commits took, as its tables tell."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Epochs:
    """Milliseconds of each commit of rows, and of all those of an epoch, during which none reads.

    A commit begins when it says so, and ends with the log's file.
    """

    commits: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)

    def look(self, root: Path) -> None:
        """Add those of the tables in a folder, which are of one run."""
        by_epoch: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for log in root.glob("**/_delta_log/*.json"):
            actions = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
            told = [each["commitInfo"] for each in actions if "commitInfo" in each]
            if not any("add" in each for each in actions):
                continue
            metadata = json.loads(told[0]["userMetadata"])
            span = metadata["began"] / 1000, log.stat().st_mtime
            by_epoch[metadata["epoch"]].append(span)
        for spans in by_epoch.values():
            self.commits += [1000 * (end - began) for began, end in spans]
            begins, ends = zip(*spans, strict=True)
            self.epochs.append(1000 * (max(ends) - min(begins)))
