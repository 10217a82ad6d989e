"""Checks of the event store: can it be reached, is it ours, may it be made, does a pooler or another daemon stand in the way."""

import os

from cdcd.config.model import Config
from cdcd.embedded.service import find_binaries
from cdcd.embedded.unprivileged import account_for
from cdcd.errors import PermanentError, StoreRefused, StoreUnavailable
from cdcd.event import Position
from cdcd.replication.quoting import identifier
from cdcd.store.reads import Reads
from cdcd.store.standing import Standing, look
from cdcd.upkeep.finding import Section
from cdcd.upkeep.home import Home
from cdcd.upkeep.provider import direct_hint, pooler_sign
from cdcd.upkeep.server import address


async def check_store(section: Section, config: Config, home: Home) -> dict[str, Position]:
    """The stored positions, none when they cannot be read."""
    if home.dsn is None:
        _not_running(section, home)
        return {}
    try:
        standing = await look(home.dsn, home.schema, config.project)
    except StoreRefused as error:
        section.mistake("store", str(error), error.hint)
        return {}
    except StoreUnavailable as error:
        host, port = address(home.dsn)
        if sign := pooler_sign(host, port, message=str(error)):
            section.mistake("pooler", f"{error}: {sign}", direct_hint(host))
        else:
            section.unknown("store", f"{home.words}: {error}", error.hint)
        return {}
    _standing(section, home, standing)
    if not standing.made:
        return {}
    reads = Reads(home.dsn, home.schema)
    try:
        return await reads.positions()
    except (StoreRefused, StoreUnavailable) as error:
        section.mistake("store", f"{home.words} cannot be read: {error}", error.hint)
        return {}
    finally:
        await reads.close()


def _not_running(section: Section, home: Home) -> None:
    """The embedded server, which is down. Whether it could run is all that can be said."""
    try:
        find_binaries()
        account = account_for(home.directory) if home.directory is not None else None
    except PermanentError as error:
        section.mistake("store", str(error), error.hint)
        return
    if home.denied:
        section.unknown("store", f"{home.words}: this user may not look into it", "run as the user that runs cdcd, or as root")
    elif home.made:
        section.ok("store", f"{home.words}: does not run now, `cdcd run` starts it; what it holds was not looked at")
    elif (problem := _unwritable(home)) and account is None:
        section.mistake("store", problem, "set eventing.state_dir to a directory that this user may write to")
    else:
        who = f", as the user {account.name}" if account is not None else ""
        section.ok("store", f"{home.words}: will be made by `cdcd setup` or `cdcd run`{who}")


def _unwritable(home: Home) -> str:
    """Why the directory cannot be made."""
    assert home.directory is not None
    place = next(parent for parent in (home.directory, *home.directory.parents) if parent.exists())
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{home.directory} cannot be made: {place} is not writable"


def _standing(section: Section, home: Home, standing: Standing) -> None:
    if home.dsn is not None and home.database is not None:
        host, port = address(home.dsn)
        if sign := pooler_sign(host, port, standing.told_pid, standing.real_pid):
            section.mistake(
                "pooler", f"{home.words}: a pooler loses the lock by which one daemon owns the store: {sign}", direct_hint(host)
            )
    if standing.version < 140000:
        section.mistake("store", f"{home.words}: PostgreSQL {standing.version // 10000} is too old, 14 is needed", "upgrade it")
    if standing.read_only:
        section.mistake(
            "store",
            f"{home.words} cannot be written: {standing.read_only}",
            "give the primary's url"
            if "standby" in standing.read_only
            else f"ALTER ROLE {identifier(standing.role)} RESET default_transaction_read_only;  -- or of the database, or the server",
        )
    elif standing.missing and not standing.may_make:
        section.mistake(
            "store",
            f"the role {standing.role} may not "
            + (
                f"migrate {home.words}: it does not own it"
                if standing.made
                else f"make {home.words}: it has no CREATE right on the database"
            ),
            f"ALTER SCHEMA {identifier(home.schema)} OWNER TO {identifier(standing.role)};  -- and of what is in it"
            if standing.made
            else f"CREATE SCHEMA {identifier(home.schema)} AUTHORIZATION {identifier(standing.role)};\n"
            "-- or everything at once: `cdcd setup --print`",
        )
    elif not standing.made:
        section.ok("store", f"{home.words}: will be made by `cdcd setup` or `cdcd run`")
    elif standing.missing:
        section.ok("store", f"{home.words}: will be migrated to {standing.missing[-1]} by `cdcd setup` or `cdcd run`")
    else:
        section.ok("store", f"{home.words}: there, ours, up to date")
    if standing.owner:
        section.ok("owner", f"in use by a running cdcd ({standing.owner})")
