"""Who runs a server, and what poolers look like: recognised from names and settings, so that a fix is the one that works there. Pure.

Sources: the providers' manuals ("logical replication"), PgBouncer's (`unsupported startup parameter`), and PostgreSQL's
BackendKeyData, which a pooler makes up, so that it differs from what `pg_backend_pid()` tells.
"""

from collections.abc import Collection
from dataclasses import dataclass

from cdcd.replication.quoting import identifier


@dataclass(slots=True, frozen=True)
class Provider:
    """`wal_level`: what to do to get logical decoding. `grant`: SQL that lets `%s` (a quoted role) replicate."""

    name: str
    wal_level: str
    grant: str = "ALTER ROLE %s REPLICATION;"

    def granting(self, role: str) -> str:
        """The SQL that lets `role` replicate."""
        return self.grant % identifier(role)


SELF_HOSTED = Provider("", "ALTER SYSTEM SET wal_level = 'logical';  -- then restart the server")
RDS = Provider(
    "Amazon RDS",
    "set rds.logical_replication = 1 in the instance's parameter group, then reboot the instance (wal_level cannot be set itself)",
    "GRANT rds_replication TO %s;",
)
AURORA = Provider(
    "Amazon Aurora",
    "set rds.logical_replication = 1 in the cluster's parameter group, then reboot the writer (wal_level cannot be set itself)",
    "GRANT rds_replication TO %s;",
)
CLOUD_SQL = Provider(
    "Google Cloud SQL",
    "set the database flag cloudsql.logical_decoding = on, which restarts the instance (wal_level cannot be set itself)",
    "ALTER USER %s WITH REPLICATION;",
)
AZURE = Provider(
    "Azure Database for PostgreSQL",
    "set the server parameter wal_level to LOGICAL, then restart the server",
    "ALTER ROLE %s WITH REPLICATION;",
)
SUPABASE = Provider(
    "Supabase", "wal_level is logical on every project: is the url that of the direct host, db.<project>.supabase.co:5432?"
)
NEON = Provider(
    "Neon",
    "enable logical replication in the project's settings (it restarts the computes, and cannot be turned off)",
    "GRANT neon_superuser TO %s;  -- or make the role in Neon's console, which gives it REPLICATION",
)
DIGITAL_OCEAN = Provider("DigitalOcean", "wal_level is logical on managed clusters: is this one a read-only node?")
AIVEN = Provider("Aiven", "wal_level is logical on Aiven: is this a read replica?")

_HOSTS = (
    (".rds.amazonaws.com", RDS),
    (".database.azure.com", AZURE),
    (".supabase.co", SUPABASE),
    (".supabase.com", SUPABASE),
    (".neon.tech", NEON),
    (".ondigitalocean.com", DIGITAL_OCEAN),
    (".aivencloud.com", AIVEN),
)
_ROLES = (
    ("rds_superuser", RDS),
    ("cloudsqlsuperuser", CLOUD_SQL),
    ("azure_pg_admin", AZURE),
    ("supabase_admin", SUPABASE),
    ("neon_superuser", NEON),
    ("avnadmin", AIVEN),
    ("doadmin", DIGITAL_OCEAN),
)
MARKS = tuple(role for role, _ in _ROLES)
"""Roles whose presence tells the provider."""

_POOLER_PORTS = {"6432": "PgBouncer", "6543": "Supavisor"}
_POOLER_WORDS = ("unsupported startup parameter", "pgbouncer", "supavisor", "pgcat", "tenant or user not found")


def provider_of(host: str, roles: Collection[str] = ()) -> Provider:
    """Who runs the server at `host`, which has these of `MARKS`."""
    low = host.lower().rstrip(".")
    if low.endswith(".rds.amazonaws.com") and ".cluster-" in low:
        return AURORA
    for ending, provider in _HOSTS:
        if low.endswith(ending):
            return provider
    return next((provider for role, provider in _ROLES if role in roles), SELF_HOSTED)


def pooler_sign(host: str, port: str, told_pid: int = 0, real_pid: int = 0, message: str = "") -> str:
    """Why a pooler seems to stand between; empty when nothing tells so.

    `told_pid` is the pid of the connection's start, `real_pid` that of the session that ran a query (0: not known).
    """
    low, words = host.lower(), message.lower()
    named = next((word for word in _POOLER_WORDS if word in words), "")
    if named:
        return f"the refusal is a pooler's ({named!r})"
    if ".pooler.supabase." in low or (low.endswith(".neon.tech") and "-pooler." in low):
        return f"{host} is a pooler's name"
    if told_pid and real_pid and told_pid != real_pid:
        return f"the server process that answers ({real_pid}) is not the one that was announced ({told_pid})"
    if not real_pid and port in _POOLER_PORTS:
        return f"{port} is the usual port of {_POOLER_PORTS[port]}"
    return ""


def direct_hint(host: str) -> str:
    """How to get round the pooler."""
    if ".supabase." in host.lower():
        return "use the direct host of the project, db.<project>.supabase.co, port 5432 (IPv6, or with the IPv4 add-on)"
    if host.lower().endswith(".neon.tech"):
        return f"take '-pooler' out of the host's name: {host.replace('-pooler', '', 1)}"
    return "give the server's own host and port in the url; a pooler cannot pass replication or session locks on"
