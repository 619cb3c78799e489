from hypothesis import given
from hypothesis import strategies as st

from operators.avro.payloads import Payloads


@given(st.lists(st.none() | st.binary(max_size=40), max_size=20))
def test_values_lie_end_to_end_with_zeros_behind(values):
    payloads = Payloads.of(tuple(values))
    assert payloads.values == values
    places = zip(payloads.starts, payloads.ends, strict=True)
    assert [payloads.data[low:high].tobytes() for low, high in places] == [
        value or b"" for value in values
    ]
    last = int(payloads.ends[-1]) if values else 0
    assert payloads.data[last:].tobytes() == bytes(32)
