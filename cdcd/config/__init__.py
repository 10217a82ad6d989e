"""Configuration: YAML with line numbers becomes frozen values; every mistake is reported at once with its place."""
