"""Programs that some tests run and pip does not install."""

import os
import shutil

import pytest


def tool(name: str) -> str:
    """Return where a program of `.ci/tools` is; without it skips, and in CI fails."""
    found = shutil.which(name)
    if found is None:
        how = f"no {name} on the PATH: `.ci/tools FOLDER` puts it into FOLDER/bin or FOLDER/usr/bin"
        if os.environ.get("GITHUB_ACTIONS"):
            pytest.fail(how)
        pytest.skip(how)  # pip does not bring it; CI, which has it, fails instead
    return found
