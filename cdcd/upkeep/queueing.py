"""Checks of what is no change of a row: custom events, the ways in which they can be queued, notifications, schedules."""

import time
from collections.abc import Sequence

from cdcd.config.model import Capture, Config, Database, Kind
from cdcd.errors import CdcdError
from cdcd.replication.quoting import identifier
from cdcd.replication.refusal import translated as refusals
from cdcd.sources.opening import connect
from cdcd.sources.ticks import Ticks
from cdcd.sources.translate import translated
from cdcd.triggers.trigger import Trigger
from cdcd.upkeep.finding import Section


async def check_queueing(config: Config, triggers: Sequence[Trigger]) -> Section | None:
    """What can be said of the enabled `triggers`; None when it concerns none of them."""
    custom = [trigger for trigger in triggers if trigger.kind is Kind.CUSTOM]
    schedules = [trigger for trigger in triggers if trigger.kind is Kind.SCHEDULE]
    section = Section("custom events and schedules")
    wanted = {kind for trigger in custom for kind in trigger.types}
    if custom:
        section.ok("custom", f"{len(wanted)} custom type{'s' * (len(wanted) != 1)}: {', '.join(sorted(wanted))}")
        await _ways(section, config, triggers)
    for database in config.databases.values():
        await _channels(section, database, wanted)
    for trigger in schedules:
        _schedule(section, trigger)
    return section if section.findings else None


async def _ways(section: Section, config: Config, triggers: Sequence[Trigger]) -> None:
    """How they can be queued in SQL."""
    schema, home = identifier(config.eventing.schema), config.eventing.database
    if home is not None:
        section.ok("custom", f"{schema}.queue() is in the database {home}; a role needs: GRANT USAGE ON SCHEMA {schema} TO ...")
        await _prepared(section, config.databases[home])
    else:
        section.ok(
            "custom", "the event store is a server of cdcd's own, which applications do not reach: no cdcd.queue() in SQL"
        )
    read = sorted({t.config.database for t in triggers if t.kind is Kind.DATABASE})
    heard = [name for name in read if config.databases[name].capture is Capture.REPLICATION]
    if heard:
        section.ok("custom", f"messages (pg_logical_emit_message) are read in: {', '.join(heard)}")


async def _prepared(section: Section, database: Database) -> None:
    """Whether a transaction that queues may notify."""
    try:
        with translated(database), refusals():
            async with await connect(database) as connection:
                cursor = await connection.execute("SELECT current_setting('max_prepared_transactions')")
                row = await cursor.fetchone()
    except CdcdError as error:
        section.unknown("custom", f"whether transactions that queue may notify: {error}", error.hint)
        return
    if row is not None and row[0] != "0":
        section.ok(
            "custom",
            f"database {database.name} allows prepared transactions, which cannot notify: what is queued in SQL is looked for every 200 ms",
        )


async def _channels(section: Section, database: Database, wanted: set[str]) -> None:
    """Notifications of one database: whether they can be heard, and whether anybody wants them."""
    for channel, kind in database.channels:
        if kind not in wanted:
            section.warning(
                "channel",
                f"database {database.name}: nobody wants {kind}, so the channel {channel} is not listened to",
                f"write a trigger with type: {kind}, or take the channel out",
            )
    heard = [channel for channel, kind in database.channels if kind in wanted]
    if not heard:
        return
    try:
        with translated(database), refusals():
            async with await connect(database) as connection:
                for channel in heard:
                    await connection.execute(f"LISTEN {identifier(channel)}".encode())
    except CdcdError as error:
        section.unknown("channel", f"notifications cannot be heard: {error}", error.hint)
    else:
        section.ok(
            "channel", f"database {database.name}: {', '.join(heard)} can be heard; what is notified while cdcd is down is lost"
        )


def _schedule(section: Section, trigger: Trigger) -> None:
    schedule = trigger.config.schedule
    assert schedule is not None
    ticks = Ticks(schedule)
    upcoming = ticks.next(int(time.time()))
    if upcoming is None:
        section.warning(
            "schedule", f"{trigger.name}: `{schedule.cron}` does not tick within 50 years", "correct its `schedule`"
        )
    else:
        section.ok("schedule", f"{trigger.name}: `{schedule.cron}` ticks next at {ticks.written(upcoming)}")
