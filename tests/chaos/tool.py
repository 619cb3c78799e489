"""`millstream` as the bench starts it: with failpoints, in small transactions, by two people.

CHAOS_POINT, CHAOS_NOTES   as in `points`
"""

import sys
from typing import Any, Final

from tests.chaos.points import Point, around, passed

EDIT_POINTS: Final = (
    "before an edit's audit row",
    "between an edit's audit row and the edit",
    "after an edit",
)
APPROVE_POINTS: Final = ("before an approval", "after an approval")
REPLAY_POINTS: Final = (
    "before a replay's audit row",
    "between a replay's audit row and its claim",
    "between a replay's claim and what it sends",
    "mid transaction",
    "before a transaction's commit",
    "between two transactions",
    "between the last transaction and where its records are",
    "between where its records are and the last audit row",
    "after a replay",
)
"""In the order in which they are passed: who goes on after one comes to the next."""

OFTEN_PASSED: Final = REPLAY_POINTS[3:6]


def install() -> None:
    """Put the failpoints over what edits, approvals and replays write and send."""
    import schemas
    from ops.dlq import acts, sending
    from ops.dlq.edits import EDITED
    from ops.dlq.replays import BEGUN, DONE

    contract = schemas.contract
    schemas.contract = lambda record: f"approval: true\n{contract(record) or ''}"
    sending._CHUNK = 7
    point = Point()
    around_audit = {
        EDITED: EDIT_POINTS[:2],
        "approve": APPROVE_POINTS,
        BEGUN: REPLAY_POINTS[:2],
        DONE: (REPLAY_POINTS[7], REPLAY_POINTS[8]),
    }

    def note(original: Any) -> Any:
        def wrapped(self: Any, action: str, *args: Any, **kwargs: Any) -> None:
            before, after = around_audit[action]
            passed(point, before, after)(original)(self, action, *args, **kwargs)

        return wrapped

    around(acts.Acts, "note", note)

    def add(original: Any) -> Any:
        def wrapped(*args: Any) -> None:
            original(*args)
            point(EDIT_POINTS[2] if args[-1] == "edit" else REPLAY_POINTS[2])

        return wrapped

    around(acts.Acts, "add", add)

    class Producer(sending.Producer):
        def commit_transaction(self, *args: Any) -> None:
            point("before a transaction's commit")
            super().commit_transaction(*args)
            point("between two transactions")

    sending.Producer = Producer

    def produce(original: Any) -> Any:
        def wrapped(self: Any, *args: Any) -> None:
            original(self, *args)
            if point.name == "mid transaction":
                self._producer.flush(10)
            point("mid transaction")

        return wrapped

    around(sending.Sender, "_produce", produce)
    around(sending.Sender, "send", passed(point, None, REPLAY_POINTS[6]))


def main() -> None:
    """Run a command as `millstream` would."""
    import flows  # noqa: F401 # sets what must be set before Polars is imported

    install()
    from ops import cli

    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
