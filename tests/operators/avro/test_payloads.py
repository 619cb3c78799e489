import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from operators.avro.payloads import Payloads


@given(
    st.lists(st.none() | st.binary(max_size=40), max_size=20), st.none() | st.integers(0, 20)
)
def test_values_lie_end_to_end_with_zeros_behind(values, cut):
    column = None
    if cut is not None:
        pieces = [pl.Series("v", piece, pl.Binary()) for piece in (values[:cut], values[cut:])]
        column = pl.concat(pieces)
    payloads = Payloads.of(tuple(values), column)
    assert payloads.values == values
    places = zip(payloads.starts, payloads.ends, strict=True)
    assert [payloads.data[low:high].tobytes() for low, high in places] == [
        value or b"" for value in values
    ]
    last = int(payloads.ends[-1]) if values else 0
    assert payloads.data[last:].tobytes() == bytes(32)
