"""Keys: what they make is a function of key, place and value, and nothing but the key undoes it."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.privacy import KeyRing, KeyRingError, NoKeyError
from operators.privacy.keys import Mac

ONE, TWO = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
RING = KeyRing.parse(f"b:{TWO}\na:{ONE}\n")


def test_a_token_is_the_same_for_ever_and_another_in_each_field_and_by_each_key():
    # Written down: another one would take everybody in silver for somebody new.
    assert RING.oldest.token("card_id", "card-7") == "a:6pxBm0Ff4ADWrYKHYLUq2g"
    others = {
        RING.oldest.token("card_id", "card-8"),
        RING.oldest.token("customer_id", "card-7"),
        RING.oldest.token("card_idc", "ard-7"),
        RING.newest.token("card_id", "card-7"),
    }
    assert len(others) == 4
    assert RING.oldest.token("card_id", "card-7") not in others


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_mac_is_that_of_the_standard_library(key, text):
    assert Mac(key)(text) == hmac.digest(key, text, "sha256")


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_what_is_encrypted_comes_back_where_it_was_and_nowhere_else(about, other, value):
    key = RING.newest
    sealed = key.encrypt(about, value)
    assert key.encrypt(about, value) == sealed
    assert len(sealed) == len(value) + 12 + 16
    assert key.decrypt(about, sealed) == value
    if other != about:
        assert key.encrypt(other, value)[:12] != sealed[:12]
        with pytest.raises(NoKeyError):
            key.decrypt(other, sealed)
    for changed in (sealed[:-1], bytes([sealed[0] ^ 1]) + sealed[1:], b""):
        with pytest.raises(
            NoKeyError, match="it was changed, or the key of that id was another"
        ):
            key.decrypt(about, changed)


def test_a_new_key_in_front_encrypts_and_the_last_one_goes_on_making_tokens():
    assert (RING.newest.id, RING.oldest.id) == ("b", "a")
    assert KeyRing.parse(f"a:{ONE}").oldest.token("f", "v") == RING.oldest.token("f", "v")
    hidden = RING.hidden("card_id", "card-7")
    assert hidden.startswith("enc:a:")
    assert RING.shown("card_id", hidden) == "card-7"
    with pytest.raises(NoKeyError, match="key a, which is not at hand: set MILLSTREAM_PRIVACY"):
        KeyRing.parse(f"b:{TWO}").shown("card_id", hidden)
    with pytest.raises(NoKeyError, match="there is no key"):
        KeyRing.parse("").newest.token("f", "v")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("c2VjcmV0", "an entry is not id:secret"),
        (f"A b:{ONE}", "an entry is not id:secret"),
        ("k:c2VjcmV0", "key k is no base64 of 32 bytes or more"),
        ("k:+++", "key k is no base64"),
        (f"k:{ONE},k:{TWO}", "key k is there twice"),
    ],
)
def test_a_ring_that_is_none_is_refused_without_any_part_of_a_secret(text, why):
    with pytest.raises(KeyRingError) as refused:
        KeyRing.parse(text)
    assert why in str(refused.value)
    assert not any(part in str(refused.value) for part in ("c2Vj", ONE, TWO, "+++"))
    assert repr(RING.newest) == "Key('b')"
