"""Starting: what every flow does before Bytewax runs it."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from flows.settings import Settings
from operators.connectors import recovery


def registry_config(settings: Settings) -> dict[str, str]:
    """Return the registry client's settings."""
    user = settings.schema_registry_user.get_secret_value()
    return {"basic.auth.user.info": user} if user else {}


def prepare_recovery(arguments: Sequence[str]) -> None:
    """Make or purge the recovery store that Bytewax was told of, before it opens it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    )
    parser.add_argument("-i", "--process-id", type=int, default=0)
    known, _ = parser.parse_known_args(arguments)
    # One process does it for all: the others wait for it before they open the store.
    if known.recovery_directory and known.process_id == 0:
        recovery.prepare(Path(known.recovery_directory))
