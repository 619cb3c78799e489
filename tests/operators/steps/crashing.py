"""A source for flows that die and are resumed in one process."""

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition


class _Part(StatefulSourcePartition):
    def __init__(self, source, at):
        self.source, self.at = source, at or 0

    def next_batch(self):
        if self.at in self.source.crashes:
            self.source.crashes.remove(self.at)
            raise AbortExecution
        if self.at in self.source.stops:
            self.source.stops.remove(self.at)
            raise StopIteration
        if self.at == len(self.source.items):
            raise StopIteration
        self.at += 1
        return [self.source.items[self.at - 1]]

    def snapshot(self):
        return self.at


class Crashing(FixedPartitionedSource):
    """Emits items one by one; before those at `crashes` dies, before `stops` ends, once each.

    TestingSource's ABORT repeats an item after its second resume.
    """

    def __init__(self, items, crashes=(), stops=()):
        self.items, self.crashes, self.stops = items, set(crashes), set(stops)

    def list_parts(self):
        return ["all"]

    def build_part(self, step_id, for_part, resume_state):
        return _Part(self, resume_state)
