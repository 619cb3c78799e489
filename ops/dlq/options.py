"""The options of the commands that do something with rejects, without what does it."""

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Final

from ops.dlq.filters import positive

MOST_ATTEMPTS: Final = 3
FORMATS: Final = (".parquet", ".jsonl")
"""What files of rejects are, by the ends of their names."""

EDIT: Final = (
    "Say what would become of rejects if they were changed, and with --save keep that: who, when, "
    "why, and the bytes before and after, in ops/edits. The quarantine stays as it is, and replay "
    "sends them as changed. Kept is only what would be good by schema and contract. One that was "
    "edited before is gone on with; the newest edit counts."
)
APPROVE: Final = (
    "Show an edit, and with --save approve it. Where the contract says `approval: true`, replay "
    "sends no edited record before another user than who edited it has done so."
)
REPLAY: Final = (
    "Say what would become of rejects by today's schemas and contract, and with --send send those "
    "that would be good to their topic again, each once, with its key, value and headers: a "
    "running flow then takes them as any other record. Needs MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS. "
    "A replay that was ended on its way is gone on with first. With --sandbox they go through the "
    "flow's steps here and to tables in a folder, and nothing is sent."
)


def add_edit(parser: argparse.ArgumentParser) -> None:
    """Add what edit has beside filters."""
    kinds = parser.add_argument_group("how").add_mutually_exclusive_group(required=True)
    kinds.add_argument("--patch", metavar="JSON|FILE", help="a JSON patch (RFC 6902)")
    kinds.add_argument("--set", action="append", metavar="FIELD=SQL", dest="assignments",
                       help="an expression over the record's fields; may be repeated")  # fmt: skip
    kinds.add_argument("--editor", action="store_true",
                       help="one record in $VISUAL or $EDITOR, as JSON")  # fmt: skip
    kinds.add_argument("--as", type=Path, dest="whole", metavar="FILE",
                       help="one record as this JSON, written by the newest schema")  # fmt: skip
    kinds.add_argument("--undo", action="store_true", help="take all edits back")
    parser.add_argument("--save", action="store_true", help="keep it; without, a dry run")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for ops/edits and ops/audit")
    parser.add_argument("--limit", type=positive, default=20, metavar="N",
                        help="how many records are shown (default: %(default)s)")  # fmt: skip


def add_approve(parser: argparse.ArgumentParser) -> None:
    """Add what approve takes."""
    parser.add_argument("edit", metavar="EDIT", help="its name, as list has it")
    parser.add_argument("--save", action="store_true", help="approve it; without, it is shown")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for ops/audit")


def add_why(parser: argparse.ArgumentParser) -> None:
    """Add what discard and restore have beside filters."""
    parser.add_argument(
        "--why", required=True, metavar="TEXT", help="the reason, for ops/audit"
    )


def add_replay(parser: argparse.ArgumentParser) -> None:
    """Add what replay has beside filters."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--send", action="store_true", help="do it; without, this is a dry run")
    how.add_argument("--sandbox", type=Path, metavar="DIR", help="let the flow's own steps make "
                     "tables of them in an empty folder, and touch nothing else")  # fmt: skip
    parser.add_argument("--canary", type=positive, metavar="N", help="send N of each "
                        "stream first, and the others once silver has these")  # fmt: skip
    parser.add_argument("--wait", type=_duration, default="5m", metavar="TIME",
                        help="how long for the canary (default: %(default)s)")  # fmt: skip
    parser.add_argument("--attempts", type=positive, default=MOST_ATTEMPTS, metavar="N",
                        help="leave out what was tried N times (default: %(default)s)")  # fmt: skip
    parser.add_argument("--limit", type=positive, metavar="N", help="send N at the most")
    parser.add_argument("--rate", type=_rate, metavar="R/s", help="records a second")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for ops/audit")


def _rate(text: str) -> int:
    return positive(text.removesuffix("/s"))


def _duration(text: str) -> timedelta:
    # Behind what most runs do not need, as it takes a while to import.
    from flows.streams.settings import parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 5m") from None
