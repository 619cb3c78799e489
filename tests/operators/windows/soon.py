"""Small bounds, so that what is reduced and merged as it grows is so after a few rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from operators.windows import intake, pieces, sessions
from operators.windows import session_revisions as reopened
from operators.windows import slices as store

FULL_SOON = {
    intake: {"_HELD_MIN": 1, "_HELD_MAX": 3},
    pieces: {"_FEW": 2, "_MANY": 3},
    store: {"_RAW_MIN": 2, "_RUNS_MAX": 2},
    sessions: {"_MERGED_MIN": 1},
    reopened: {"_MERGED_MIN": 1},
}


@contextmanager
def full(soon: bool) -> Iterator[None]:
    """Let what is reduced and merged as it grows do so after a few rows, if `soon`."""
    with pytest.MonkeyPatch.context() as patch:
        for module, bounds in FULL_SOON.items() if soon else ():
            for bound, value in bounds.items():
                patch.setattr(module, bound, value)
        yield
