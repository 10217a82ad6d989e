"""Whose server it is and whether a pooler stands between, from what can be known: rules as a table."""

import pytest

from cdcd.upkeep.provider import (
    AURORA,
    AZURE,
    CLOUD_SQL,
    NEON,
    RDS,
    SELF_HOSTED,
    SUPABASE,
    Provider,
    direct_hint,
    pooler_sign,
    provider_of,
)


@pytest.mark.parametrize(
    ("host", "roles", "provider"),
    [
        ("db.example.com", (), SELF_HOSTED),
        ("shop.abc123.eu-west-1.rds.amazonaws.com", (), RDS),
        ("shop.cluster-abc123.eu-west-1.rds.amazonaws.com", (), AURORA),
        ("10.0.0.7", ("rds_superuser",), RDS),
        ("10.0.0.7", ("cloudsqlsuperuser",), CLOUD_SQL),
        ("shop.postgres.database.azure.com", (), AZURE),
        ("db.abc.supabase.co", (), SUPABASE),
        ("ep-cool-1.eu-central-1.aws.neon.tech", (), NEON),
        ("rds.amazonaws.com.example.org", (), SELF_HOSTED),
    ],
)
def test_provider(host: str, roles: tuple[str, ...], provider: Provider) -> None:
    assert provider_of(host, roles) is provider


def test_a_role_is_quoted_in_the_grant() -> None:
    assert RDS.granting('od"d') == 'GRANT rds_replication TO "od""d";'
    assert SELF_HOSTED.granting("app") == 'ALTER ROLE "app" REPLICATION;'


@pytest.mark.parametrize(
    ("arguments", "sign"),
    [
        (("db", "5432", 100, 100), ""),
        (("db", "5432", 100, 200), "not the one that was announced"),
        (("db", "5432", 0, 0, "FATAL: unsupported startup parameter: replication"), "a pooler's"),
        (("aws-0-eu.pooler.supabase.com", "5432", 7, 7), "a pooler's name"),
        (("ep-cool-1-pooler.eu-central-1.aws.neon.tech", "5432", 7, 7), "a pooler's name"),
        (("db", "6432"), "PgBouncer"),
        (("db", "6432", 7, 7), ""),
        (("db", "5432", 0, 0, "connection refused"), ""),
    ],
)
def test_pooler(arguments: tuple[str, str], sign: str) -> None:
    found = pooler_sign(*arguments)
    assert sign in found
    assert bool(found) == bool(sign)


def test_the_way_round_a_pooler() -> None:
    assert "ep-cool-1.aws.neon.tech" in direct_hint("ep-cool-1-pooler.aws.neon.tech")
    assert "db.<project>.supabase.co" in direct_hint("aws-0-eu.pooler.supabase.com")
