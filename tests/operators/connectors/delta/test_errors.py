import pytest

from operators.connectors.delta.errors import never_fits, reason


def test_an_error_is_one_line_without_colours_rows_or_signatures():
    error = OSError(
        "Generic S3 error\n   \x1b[31m↳\x1b[0m GET https://x.blob.core.windows.net/a?sig=secret "
        "failed\nPreview of invalid data:\n | 4111111111111111 |"
    )
    assert reason(error) == (
        "Generic S3 error ↳ GET https://x.blob.core.windows.net/a?… failed"
    )
    assert len(reason(OSError("x" * 1000))) == 301


@pytest.mark.parametrize("text", ["Unsupported table features required: [RowTracking]"])
def test_what_fails_for_ever_is_told_apart(text):
    assert "DROP FEATURE" in str(never_fits("t", OSError(text)))
    assert never_fits("t", OSError("disk on fire")) is None
