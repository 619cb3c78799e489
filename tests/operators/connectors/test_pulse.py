from operators.connectors.pulse import MEETING, Pulse, Silence


def test_a_part_that_is_not_asked_is_silent_and_one_that_is_asked_is_not():
    pulse = Pulse()
    silence = Silence(pulse)
    for _ in range(3):
        pulse.asked("a/0")
        assert silence.look(1) == {"a/0": 0}
    pulse.asked("a/1")
    assert silence.look(1) == {"a/0": 1, "a/1": 0}
    pulse.asked("a/1")
    assert silence.look(1) == {"a/0": 2, "a/1": 0}
    pulse.asked("a/0")
    assert silence.look(1) == {"a/0": 0, "a/1": 1}


def test_what_takes_long_and_gets_on_is_not_silent():
    pulse = Pulse()
    silence = Silence(pulse)
    pulse.asked("a/0")
    assert [silence.look(2)["a/0"] for _ in range(3)] == [0, 2, 4]
    pulse.got_on()
    assert [silence.look(2)["a/0"] for _ in range(3)] == [0, 2, 4]


def test_a_process_that_reads_nothing_any_more_is_judged_by_its_tables():
    pulse = Pulse()
    silence = Silence(pulse)
    assert silence.look(1) == {}, "nothing has begun"
    pulse.asked("a/0")
    pulse.written("gold/a")
    assert silence.look(1) == {"a/0": 0}
    pulse.left("a/0")
    assert [silence.look(1) for _ in range(2)] == [{"gold/a": 0}, {"gold/a": 1}]
    pulse.written("gold/a")
    assert silence.look(1) == {"gold/a": 0}


def test_a_part_that_was_left_and_is_read_again_begins_anew():
    pulse = Pulse()
    silence = Silence(pulse)
    pulse.asked("a/0")
    pulse.asked("a/1")
    silence.look(1)
    silence.look(1)
    pulse.left("a/0")
    assert silence.look(1) == {"a/1": 2}
    pulse.asked("a/0")
    assert silence.look(1) == {"a/0": 0, "a/1": 3}


def test_a_process_that_waits_for_the_others_is_silent_until_the_engine_builds_the_flow():
    pulse = Pulse()
    silence = Silence(pulse)
    pulse.meets()
    assert [silence.look(2)[MEETING] for _ in range(3)] == [0, 2, 4]
    pulse.met()
    assert silence.look(2) == {}, "it may have nothing to read, and nothing to write yet"
    pulse.opened("a/0")
    assert [silence.look(2) for _ in range(2)] == [{"a/0": 0}, {"a/0": 2}], (
        "all state is loaded"
    )
    pulse.asked("a/0")
    assert silence.look(2) == {"a/0": 0}
    pulse.opened("a/0")
    assert silence.look(2) == {"a/0": 2}
