"""Roles: what a command needs, checked before it does anything."""

import os
from typing import Final

from flows.environment import PREFIX, refuse
from flows.roles import granted

_VARIABLE: Final = f"{PREFIX}ROLE"


def need(role: str) -> None:
    """End the process, with what to do, if who runs it is not granted a role."""
    try:
        have = granted(os.environ.get(_VARIABLE, ""))
    except ValueError as error:
        refuse(f"{_VARIABLE}: {error}", 2)
    if role not in have:
        refuse(
            f"this needs the role {role}, and {_VARIABLE} grants {', '.join(sorted(have))}: have "
            f"it done by somebody whom it grants {role}",
            1,
        )
