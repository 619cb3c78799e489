"""Replays as tables: which rejects were sent again, claimed before they are, and what was done.

A reject is sent again once: who sends has claimed it, in one commit that lets no other in.
"""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from operators.connectors.delta.acts import AUDIT, REPLAYS, SENT
from operators.connectors.delta.reading import read
from ops.dlq.acts import Acts, new_name
from ops.dlq.quarantine import PLACE, Place, QuarantineError

BEGUN: Final = "replay"
DONE: Final = "replayed"

_APP: Final = "millstream/replays"


class Replays:
    """The replays of the tables under a root."""

    def __init__(self, root: str) -> None:
        self._acts = Acts(root)

    def claimed(self) -> pl.DataFrame:
        """Return every reject that was claimed so far."""
        return self._acts.read(REPLAYS)

    def unfinished(self) -> list[str]:
        """Return the replays that were claimed and not reported done, the oldest first."""
        begun = self.claimed().sort("written_at")["replay"].unique(maintain_order=True)
        done = set(self._acts.read(AUDIT).filter(action=DONE)["replay"])
        return [each for each in begun if each not in done]

    def claim(
        self,
        stream: str,
        chosen: pl.DataFrame,
        behind: Mapping[tuple[str, int], int],
        asked: Mapping[str, Any],
        why: str | None,
        version: int,
    ) -> str:
        """Claim rejects, with coordinates, fingerprint and edit, for one replay; return its name.

        `behind` are the topics' ends as they are now, `version` is that of the quarantine's table
        that they were picked of; `asked` and `why` are for the audit.
        Raises QuarantineError if another replay claims at the same time.
        """
        handle = self._acts.opened(REPLAYS)
        already = read(handle, list(PLACE))
        if chosen.join(already, on=PLACE, how="semi").height:
            raise QuarantineError("another replay has claimed some of these: run it again")
        name = new_name()
        ends = [behind[place] for place in chosen.select(PLACE[:2]).iter_rows()]
        rows = chosen.select(*PLACE, "fingerprint", "edit").with_columns(
            pl.lit(name).alias("replay"),
            pl.lit(stream).alias("stream"),
            pl.Series("sent_behind", ends, pl.Int64),
            pl.lit(version, pl.Int64).alias("quarantine_version"),
        )
        self._acts.note(BEGUN, rows.height, asked, why, replay=name, quarantine_version=version)
        self._acts.add(handle, REPLAYS, rows, _APP, "replay")
        return name

    def done(self, replay: str, stream: str, places: Mapping[Place, Place]) -> None:
        """Report a replay as done: where its records are now, by where they came from."""
        rows = pl.DataFrame(
            [(replay, stream, *origin, *now[1:]) for origin, now in places.items()],
            schema=dict(SENT.columns),
            orient="row",
        )
        self._acts.append(self._acts.opened(SENT), SENT, rows)
        self._acts.note(DONE, len(places), replay=replay)
