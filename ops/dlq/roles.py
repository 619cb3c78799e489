"""Roles: what a command needs, checked before it does anything."""

import os
from typing import Final

from flows import settings as settings_
from flows.roles import granted

_VARIABLE: Final = f"{settings_.PREFIX}ROLE"


def need(role: str) -> None:
    """End the process, with what to do, if who runs it is not granted a role."""
    try:
        have = granted(os.environ.get(_VARIABLE, ""))
    except ValueError as error:
        settings_.refuse(f"{_VARIABLE}: {error}", 2)
    if role not in have:
        settings_.refuse(
            f"this needs the role {role}, and {_VARIABLE} grants {', '.join(sorted(have))}: have "
            f"it done by somebody whom it grants {role}",
            1,
        )
