"""Delivery: the dispatcher decides, the sender attempts, the engine drives both."""
