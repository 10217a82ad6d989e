"""Configuration: YAML with line numbers becomes frozen values; every mistake is reported at once with its place."""

from cdcd.config.json_schema import schema
from cdcd.config.load import load

__all__ = ["load", "schema"]
