"""PostgreSQL logical replication: frames, pgoutput, values and progress (pure); stream, slot and publication (I/O)."""
