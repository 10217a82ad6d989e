"""Configuration: YAML with line numbers becomes frozen values; every mistake is reported at once with its place."""

from cdcd.config.load import load
from cdcd.config.shape import schema

__all__ = ["load", "schema"]
