"""The demo: an embedded server, a sample shop and its endpoints."""
