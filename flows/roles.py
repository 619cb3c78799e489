"""Roles: what who runs a command of the tool is granted, as MILLSTREAM_ROLE says."""

from typing import Final

ROLES: Final = ("viewer", "operator", "approver")
"""Who may look, who may change what becomes of a reject too, and who may approve what they edit."""


def granted(text: str) -> frozenset[str]:
    """Return the roles that a list with commas grants, all if it is empty; raises ValueError."""
    named = [each.strip() for each in text.split(",") if each.strip()]
    unknown = [each for each in named if each not in ROLES]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is none of {', '.join(ROLES)}")
    # Who may do more may look.
    return frozenset([*named, "viewer"]) if named else frozenset(ROLES)
