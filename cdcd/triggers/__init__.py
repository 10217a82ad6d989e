"""Triggers: which events, under which condition, become deliveries. Pure."""
