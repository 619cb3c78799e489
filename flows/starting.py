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
    directory, process = _told(arguments)
    # One process does it for all: the others wait for it before they open the store.
    if directory and process == 0:
        recovery.prepare(directory)


def resumes(arguments: Sequence[str], topic: str) -> bool:
    """Tell whether the recovery store that Bytewax was told of goes on with this topic."""
    directory, _ = _told(arguments)
    return directory is not None and recovery.knows(directory, topic)


def _told(arguments: Sequence[str]) -> tuple[Path | None, int]:
    """Return the recovery directory, if any, and this process's number."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    )
    parser.add_argument("-i", "--process-id", type=int, default=0)
    known, _ = parser.parse_known_args(arguments)
    found: str | None = known.recovery_directory
    return Path(found) if found else None, known.process_id
