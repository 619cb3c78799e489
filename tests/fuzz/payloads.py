"""``python -m tests.fuzz.payloads``: payloads mutated by the million, and what became of them.

Each batch is read by columns, strictly one by one, and by fastavro, JSON in another order, alone
and by another validator, and taken through decoding and contract as by a flow: one verdict, in one
place. The first that differs ends it, with the seed that makes it again.
"""

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

from tests.fuzz.json_subjects import JSON_SUBJECTS, JsonSubject
from tests.fuzz.json_verdicts import JsonReaders
from tests.fuzz.mutations import mutated
from tests.fuzz.subjects import SUBJECTS, Subject
from tests.fuzz.verdicts import Readers

ROWS = 10_000
EVERY: dict[str, Subject | JsonSubject] = {**SUBJECTS, **JSON_SUBJECTS}
_SHARES = (1.0, 1.0, 1.0, 0.5, 0.05)
"""Of a batch that is mutated: a bad record may change what becomes of a good one beside it."""
_MOST_MB = 1_024


def batches(name: str, seed: int, rows: int = ROWS) -> Iterator[tuple[list[bytes | None], int]]:
    """Yield batches of a subject's payloads for ever, and how many of each are mutated."""
    good = EVERY[name].good(2_000)
    rng = np.random.default_rng(seed)
    for share in _for_ever():
        count = max(int(rows * share), 1)
        bad = mutated(good, count, rng)
        fine = [good[at] for at in rng.integers(0, len(good), rows - count).tolist()]
        both = bad + fine
        yield [both[at] for at in rng.permutation(rows).tolist()], count


def readers_of(name: str) -> Readers | JsonReaders:
    """Return what reads the payloads of a subject."""
    subject = EVERY[name]
    return JsonReaders(subject) if isinstance(subject, JsonSubject) else Readers(subject)


def _for_ever() -> Iterator[float]:
    while True:
        yield from _SHARES


def judge(
    name: str, seed: int, payloads: int, rows: int = ROWS, opinions: int = 1
) -> Counter[str]:
    """Judge so many mutated payloads of a subject; return verdicts, and how many were mutated.

    Others' readers are asked about one batch of so many `opinions`, as they take most of the time.
    Raises AssertionError for the first that is not as it has to be.
    """
    readers, found, done = readers_of(name), Counter[str](), 0
    for turn, (values, count) in enumerate(batches(name, seed, rows)):
        found += readers.agree(values, turn % opinions == 0) + readers.places(values)
        done += count
        if done >= payloads:
            return found + Counter(mutated=done)
    raise AssertionError("there is always another batch")


def main() -> None:
    """Judge the payloads of every subject in parts, telling each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.payloads", description=__doc__)
    parser.add_argument("--payloads", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first part")
    parser.add_argument(
        "--opinions",
        type=int,
        default=1,
        metavar="N",
        help="ask others' readers about one batch of N",
    )
    args = parser.parse_args()
    total, began, part, least = Counter[str](), time.monotonic(), 100_000, None
    seed = args.seed
    while total["mutated"] < args.payloads:
        for name in EVERY:
            left = args.payloads - total["mutated"]
            if left <= 0:
                break
            print(f"{name}, seed {seed}:", end=" ", flush=True)
            total += judge(name, seed, min(part, left), opinions=args.opinions)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            least = least or peak
            said = ", ".join(f"{each} {count:,}" for each, count in total.most_common())
            print(f"{said}; {peak:,} MiB, {time.monotonic() - began:,.0f} s", flush=True)
            if peak > least + _MOST_MB:
                sys.exit(f"memory has grown from {least:,} to {peak:,} MiB")
            seed += 1


if __name__ == "__main__":
    main()
