"""Revisions: another state of this repository as files, with the packages that it locks."""

import contextlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.runs import ROOT, BenchmarkError, Code

_LOCK: Final = Path("locks", "runtime.txt")


def commit_of(revision: str) -> str:
    """Return the commit that a revision names; raises BenchmarkError."""
    if not (ROOT / ".git").exists():
        raise BenchmarkError("there is no git repository here to take another revision from")
    # What begins with a dash would be an option.
    found = _git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    if found.returncode:
        raise BenchmarkError(f"{revision} is no revision of this repository; see git log")
    return found.stdout.decode().strip()


def this_tree() -> tuple[str, bool]:
    """Return the commit that this tree is at, and whether its files are otherwise."""
    # What is not tracked counts too: it may be imported.
    changed = _git("status", "--porcelain").stdout
    return commit_of("HEAD"), bool(changed)


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Code]:
    """Lay a commit's files out for the length of a block, with an environment of their own.

    Where it locks the same packages as this tree, that is this one's. Nothing stays behind, not
    even in the repository. Raises BenchmarkError if packages cannot be installed.
    """
    with tempfile.TemporaryDirectory(prefix="millstream-") as temporary:
        folder = Path(temporary) / "code"
        archive = _git("archive", "--format=tar", commit)
        if archive.returncode:
            raise BenchmarkError(f"git archive: {archive.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Code(folder, _python(folder, Path(temporary) / "environment"))


def _python(folder: Path, environment: Path) -> str:
    if not (folder / _LOCK).exists():
        raise BenchmarkError(f"the revision has no {_LOCK}: it is too old to be compared with")
    if (folder / _LOCK).read_bytes() == (ROOT / _LOCK).read_bytes():
        return sys.executable
    print(f"its {_LOCK} is another: an environment is made for it", file=sys.stderr)
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(folder / _LOCK)],
        # For its version, which flows ask for; its code is that of the folder.
        [*pip, "--no-deps", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise BenchmarkError(
                f"its packages cannot be installed: {said[-1] if said else command}"
            )
    return python


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise BenchmarkError("git is not installed") from error
