"""What streams are called, without what declares them, which takes most of a small start."""

from typing import Final

STREAM_NAMES: Final = ("payments", "chargebacks", "clicks", "labels", "customers", "terminals")
"""The names of `flows.streams.STREAMS`, in their order."""


def quarantine_of(name: str) -> str:
    """Return what the table of a stream's refused records is called, or of an enforced topic's."""
    return f"quarantine/{name}"
