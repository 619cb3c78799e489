"""What all processes of a test run share: the first that needs it starts it, for the others too."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ops.processes import ServerError


@contextmanager
def shared(
    folder: Path, name: str, start: Callable[[], AbstractContextManager[str]]
) -> Iterator[str]:
    """Give an address for the length of a block, the same to all that ask in a run's `folder`.

    The first runs the server, and ends it when all others are done with it: each holds a lock for
    as long, which goes with its process however that ends. Where it could not be started the others
    are told so, and do not try.
    """
    told = folder / f"{name}.address"
    with (folder / f"{name}.turn").open("w") as turn, (folder / f"{name}.use").open("w") as use:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if told.exists():
            fcntl.flock(use, fcntl.LOCK_SH)
            fcntl.flock(turn, fcntl.LOCK_UN)
            if not (address := told.read_text()):
                raise ServerError(f"{name} could not be started by another process of this run")
            yield address
            return
        told.write_text("")
        with start() as address:
            told.write_text(address)
            fcntl.flock(turn, fcntl.LOCK_UN)
            try:
                yield address
            finally:
                # From here on nobody joins: one that asks waits, and starts another.
                fcntl.flock(turn, fcntl.LOCK_EX)
                fcntl.flock(use, fcntl.LOCK_EX)
                told.unlink()
