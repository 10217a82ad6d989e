"""Benchmarks: each figure beside its baseline from the same run, since machines differ and are noisy."""
