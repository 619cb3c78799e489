"""The Lua scripts, each with what it is made of."""

import re
from importlib.resources import files


def script(*names: str) -> str:
    """Return the text of some files of Lua, in their order, without comments and indents.

    Whole scripts are sent each time: their text is small beside the ids, and a Redis that was
    restarted needs no second round trip to be given them again. It hashes what it is sent.
    """
    folder = files(__package__)
    text = "".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
    return re.sub(r"^ *--.*\n|^ +", "", text, flags=re.MULTILINE)
