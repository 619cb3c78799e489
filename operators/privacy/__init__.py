"""Privacy: what is done to personal data before it reaches a table or a topic.

Fields are tagged; of each sink it is declared what becomes of those with a tag. What silver has of
a record is decided behind decoding, so that all that follows, state included, knows nothing else.
"""

from operators.privacy.declared import (
    Declared,
    Privacy,
    Sealable,
    Treats,
    read_tags,
)
from operators.privacy.guard import UNGUARDED, Guard
from operators.privacy.keys import KeyRing, KeyRingError, NoKeyError
from operators.privacy.sealing import opened, sealed

__all__ = [
    "UNGUARDED",
    "Declared",
    "Guard",
    "KeyRing",
    "KeyRingError",
    "NoKeyError",
    "Privacy",
    "Sealable",
    "Treats",
    "opened",
    "read_tags",
    "sealed",
]
