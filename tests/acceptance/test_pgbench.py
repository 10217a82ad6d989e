"""pgbench for two seconds; `make pgbench` runs it for a minute."""

from pathlib import Path

from tests.pgbench.run import run
from tests.postgres import OwnServer


async def test_pgbench_tables_are_rebuilt_from_webhooks(tmp_path: Path, own_server: OwnServer) -> None:
    """All four tables, from the builtin scripts, equal the real ones."""
    account = await run(own_server(), tmp_path, 2.0, clients=2, drain=150.0)
    assert account.faults == []
    assert account.events > account.transactions > 0
