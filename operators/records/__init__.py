"""Records: batches of a topic, what is refused of them, and the tables that their rows go to."""
