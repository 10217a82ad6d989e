"""PostgreSQL logical replication: frames, pgoutput, values and progress (pure); stream, slot and publication (I/O).

A library of its own: it knows nothing of events, triggers or stores, and its errors (`errors`) have their own roots.
"""
