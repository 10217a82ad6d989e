"""cdcd: change data capture to webhooks."""

__version__ = "0.1.0"
