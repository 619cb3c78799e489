import pytest

from operators.avro import Decoder
from tests.operators.avro.payments import KNOWN, READER


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(READER, KNOWN.__getitem__)
