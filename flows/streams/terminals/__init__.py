"""Terminals, whose owners send what has changed: what is declared of them."""

from flows.streams.stream import Stream
from operators.changes import Changes

TERMINALS = Stream(
    name="terminals",
    record="terminal",
    id="terminal_id",
    key="terminal_id",
    changes=Changes(("terminal_id",), "version", deletes="status = 'CLOSED'"),
)
