import pytest

from ops.topics import create_topic


def test_a_topic_is_made_once_and_one_of_another_size_is_refused(stack):
    assert create_topic(stack.bootstrap, "topics-made", 3)
    assert not create_topic(stack.bootstrap, "topics-made", 3)
    with pytest.raises(ValueError, match="3 partitions, not 4"):
        create_topic(stack.bootstrap, "topics-made", 4)
