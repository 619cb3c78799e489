from hypothesis import given
from hypothesis import strategies as st

from operators.connectors.kafka.outgoing import Outgoing, left_out_header

some = st.none() | st.binary(max_size=20)
messages = st.builds(
    Outgoing,
    st.text(max_size=5),
    st.just(("payments", 0, 7)),
    some,
    some,
    st.just((("ours", b"why"),)),
    st.lists(st.tuples(st.text(max_size=5), some), max_size=3).map(tuple),
)


def size(message: Outgoing) -> int:
    pairs = [(message.key, message.value), *message.originals]
    return sum(
        len((a.encode() if isinstance(a, str) else a) or b"") + len(b or b"") for a, b in pairs
    )


@given(messages)
def test_the_largest_part_goes_first_and_at_last_only_what_is_ours_is_left(message):
    steps = [message]
    while (smaller := steps[-1].smaller()) is not None:
        steps.append(smaller)
    sizes = [n for _, n in steps[-1].left_out]
    assert sizes == sorted(sizes, reverse=True)
    assert all(sizes)
    assert [size(step) for step in steps] == [
        size(message) - sum(sizes[:n]) for n in range(len(steps))
    ]
    bare = steps[-1]
    assert size(bare) == 0
    assert (bare.id, bare.source, bare.headers) == (message.id, message.source, message.headers)


@given(messages)
def test_every_step_keeps_its_id_its_place_and_ours_and_says_what_is_missing(message):
    step: Outgoing | None = message
    while step is not None:
        headers = dict(step.all_headers())
        assert headers["millstream.id"] == message.id.encode()
        assert headers["millstream.source"] == b"payments/0/7"
        assert headers["ours"] == b"why"
        for part in ("key", "value", "headers"):
            assert (left_out_header(part) in headers) == (part in dict(step.left_out))
        step = step.smaller()


def test_of_names_that_repeat_the_last_is_ours():
    theirs = (("millstream.id", b"theirs"), ("ours", b"theirs"))
    message = Outgoing("id", ("payments", 0, 7), None, None, (("ours", b"ours"),), theirs)
    assert message.all_headers()[:2] == list(theirs)
    headers = dict(message.all_headers())
    assert (headers["millstream.id"], headers["ours"]) == (b"id", b"ours")
