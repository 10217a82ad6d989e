"""The event store: migrations, the recorder (its only writer), the backlog and the reads."""
