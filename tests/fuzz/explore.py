"""``python -m tests.fuzz.explore``: inputs that reach code which none has reached before (atheris).

New ones are kept in a folder of their own; the corpus of the repository is where they begin. What
fails is left as a file, which ``--file`` runs again, and which belongs into the corpus once it is
mended.
"""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["operators", "ops.dlq", "schemas"]):
    from tests.fuzz import targets

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Explore for some minutes; the exit status is not 0 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.explore", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600, metavar="N")
    parser.add_argument("--runs", type=int, default=-1, metavar="N", help="at most so many")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="0: another each time")
    parser.add_argument("--found", type=Path, default=Path(".local/fuzz"), metavar="FOLDER")
    parser.add_argument("--file", type=Path, help="an input to run once, and no other")
    args = parser.parse_args()
    targets.warm()
    if args.file:
        targets.run(args.file.read_bytes())
        return
    args.found.mkdir(parents=True, exist_ok=True)
    libfuzzer = [
        sys.argv[0], str(args.found), str(CORPUS), f"-max_total_time={args.seconds}",
        f"-runs={args.runs}", f"-seed={args.seed}", f"-artifact_prefix={args.found}/failed-",
        "-max_len=4096",
        "-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup(libfuzzer, targets.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
