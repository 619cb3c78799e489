"""What the options of ``millstream simulate`` ask for."""

import argparse
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from flows.streams import PAYMENTS, Stream
from ops.simulate.declared import DeclaredParams, simulate_declared
from ops.simulate.params import Troubles
from ops.simulate.payments import Params, replay_file, simulate
from ops.simulate.simulation import Simulation

_OF_THE_WORLD: Final = {
    "days": "days",
    "customers": "customers",
    "terminals": "terminals",
    "radius": "radius",
    "cards": "cards_per_customer",
    "version_2_share": "version_2_share",
}
PAYMENTS_ALONE: Final = (
    *_OF_THE_WORLD, "file", "since", "chargebacks", "chargebacks_topic"
)  # fmt: skip
"""The options that no other stream has."""


def make(stream: Stream, args: argparse.Namespace) -> Simulation:
    """Return what the options ask for; raises ValueError, and OSError for a file."""
    if args.file:
        if args.days is not None:
            raise ValueError("--days is not for --file: use --since and --payments")
        if args.partitions < 1:
            raise ValueError(f"--partitions is {args.partitions}, not 1 or more")
        if args.records is not None and args.records < 1:
            raise ValueError(f"--records is {args.records}, not 1 or more")
        return replay_file(args.file, args.partitions, args.records, args.since)
    if args.since is not None:
        raise ValueError("--since is only for --file")
    shares = {entry.name: getattr(args, entry.name) for entry in fields(Troubles)}
    troubles = replace(Troubles() if args.troubles else Troubles.none(), **_given(shares))
    common: dict[str, Any] = {
        "start": datetime.now(UTC) if args.live else args.start,
        "pace": args.rate if args.live else None,
        "seed": args.seed,
        "partitions": args.partitions,
        "troubles": troubles,
    }
    if stream is not PAYMENTS:
        return simulate_declared(
            stream, DeclaredParams(**common, **_given({"records": args.records}))
        )
    world = {field: getattr(args, name) for name, field in _OF_THE_WORLD.items()}
    return simulate(Params(**common, **_given(world), payments=args.records))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
