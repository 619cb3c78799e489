"""Windows: keyed aggregates over spans of event time, emitted when the watermark passes."""

from operators.columns.durations import Duration, micros
from operators.windows import agg
from operators.windows.accumulators import KEY_HASH
from operators.windows.agg import Aggregate, InexactError
from operators.windows.assigners import Session, Sliding, session, sliding, tumbling
from operators.windows.counting import OpenCount
from operators.windows.emission import Due, Emission
from operators.windows.intake import Intake, Work
from operators.windows.open_windows import (
    Closed,
    OpenWindows,
    Slot,
    as_times,
    load_panes,
    new_panes,
    newest,
)  # fmt: skip
from operators.windows.spec import Judged, Windows

__all__ = [
    "KEY_HASH",
    "Aggregate",
    "Closed",
    "Due",
    "Duration",
    "Emission",
    "InexactError",
    "Intake",
    "Judged",
    "OpenCount",
    "OpenWindows",
    "Session",
    "Sliding",
    "Slot",
    "Windows",
    "Work",
    "agg",
    "as_times",
    "load_panes",
    "micros",
    "new_panes",
    "newest",
    "session",
    "sliding",
    "tumbling",
]  # fmt: skip
