"""The change log: what triggers on captured tables write down where a database refuses replication, and how it is read.

Its tables and functions stand in cdcd's schema of the captured database; their names begin with `changes`.
"""
