"""Long work says how far it is, also where nobody looks at a terminal."""

import pytest

from ops.progress import Lines, bar


def test_a_line_now_and_then_says_how_long_it_still_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    lines = Lines("backfill of payments", 10_000, 30, lambda: now)
    shown = []
    # Nothing is read for the first 20 s, then 100 a second.
    for second in range(0, 125, 5):
        now = float(second)
        lines.show(max(0, second - 20) * 100)
        shown.append(capsys.readouterr().err)
    assert [(5 * place, line) for place, line in enumerate(shown) if line] == [
        (30, "backfill of payments: 1,000 of 10,000 (10 %), about 90 s left\n"),
        (60, "backfill of payments: 4,000 of 10,000 (40 %), about 60 s left\n"),
        (90, "backfill of payments: 7,000 of 10,000 (70 %), about 30 s left\n"),
    ]


def test_before_anything_is_done_nothing_is_promised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    lines = Lines("reading", 10, 1, lambda: now)
    now = 5.0
    lines.show(0)
    assert capsys.readouterr().err == "reading: 0 of 10 (0 %)\n"
    now = 10.0
    lines.show(10)
    assert capsys.readouterr().err == ""


def test_they_are_for_who_asks_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, every in ((True, 0.0), (False, None)):
        with bar("reading", 10, quiet, every) as show:
            show(5)
    assert capsys.readouterr().err == ""
    with bar("reading", 10, quiet=False, every=0.0) as show:
        show(5)
    assert capsys.readouterr().err == "reading: 5 of 10 (50 %)\n"
