"""The limit of a process of its own, as it cannot be raised again."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from operators.connectors.file_limit import FileLimitError, ensure
soft, hard, files = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    ensure(files)
except FileLimitError as error:
    print(error)
else:
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "files", "said"),
    [
        (200, 300, 100, "200 300"),
        (200, 300, 200, "200 300"),
        (200, 300, 250, "250 300"),
        (200, 300, 301, "may have 300 files and sockets open, and needs 301"),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_the_hard_one(soft, hard, files, said):
    asked = map(str, (soft, hard, files))
    found = subprocess.run(
        [sys.executable, "-c", CODE, *asked], capture_output=True, text=True, check=True
    )
    assert said in found.stdout
