"""`python -m cdcd` and the command `cdcd`."""

from cdcd.cli.main import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
