"""The Lua scripts, each with what it is made of."""

from importlib.resources import files


def script(*names: str) -> str:
    """Return the text of some files of Lua, in their order.

    Whole scripts are sent each time: their text is small beside the ids, and a Redis that was
    restarted needs no second round trip to be given them again.
    """
    folder = files(__package__)
    return "".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
