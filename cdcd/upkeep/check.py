"""`cdcd check`: looks at everything that the daemon will need, by trying, and changes nothing that stays.

One section for each thing: the configuration, every database with enabled triggers, the stores of files, the event store, custom
events and schedules, the API's address, the endpoints. Databases are looked at side by side, so that an unreachable one costs its
time-out once.
"""

import asyncio
from collections.abc import Sequence

from cdcd.config.model import Capture, Config, Database
from cdcd.errors import CdcdError
from cdcd.event import Position
from cdcd.sources.translate import translated
from cdcd.triggers.trigger import Trigger, compile_all
from cdcd.upkeep.captured import check_captured
from cdcd.upkeep.directories import check_directories
from cdcd.upkeep.endpoints import check_endpoints
from cdcd.upkeep.finding import Section
from cdcd.upkeep.home import find_home
from cdcd.upkeep.listening import check_listening
from cdcd.upkeep.logged import check_log, recommend_triggers
from cdcd.upkeep.queueing import check_queueing
from cdcd.upkeep.server import check_server, reach, told
from cdcd.upkeep.slots import check_slots
from cdcd.upkeep.stored import check_store


def capturing(config: Config) -> dict[str, tuple[Trigger, ...]]:
    """The databases that are read, for enabled triggers or the canary, and the triggers. `config` has compiled before."""
    triggers = [trigger for trigger in compile_all(config) if trigger.config.enabled]
    return {
        name: mine
        for name in config.databases
        if (mine := tuple(trigger for trigger in triggers if trigger.config.database == name))
        or (config.canary is not None and config.canary.database == name)
    }


async def check(config: Config) -> list[Section]:
    """All findings. Raises nothing for what is wrong outside of this process."""
    store = Section("event store")
    positions = await check_store(store, config, find_home(config))
    captured = capturing(config)
    databases = [
        _database(config, config.databases[name], triggers, positions.get(name)) for name, triggers in captured.items()
    ]
    endpoints = Section("endpoints")
    enabled = [trigger for trigger in compile_all(config) if trigger.config.enabled]
    files, queueing, listening, *sections, _ = await asyncio.gather(
        check_directories(config, enabled),
        check_queueing(config, enabled),
        check_listening(config.server, store),
        *databases,
        check_endpoints(endpoints, config.triggers.values()),
    )
    every = (*sections, files, store, queueing, listening, endpoints)
    return [_configuration(config, captured), *(section for section in every if section is not None)]


def _configuration(config: Config, captured: dict[str, tuple[Trigger, ...]]) -> Section:
    section = Section("configuration")
    enabled = sum(trigger.enabled for trigger in config.triggers.values())
    off = len(config.triggers) - enabled
    section.ok(
        "config",
        f"{config.path}: project {config.project}, {len(config.databases)} database{'s' * (len(config.databases) != 1)}, "
        f"{enabled} trigger{'s' * (enabled != 1)}" + (f", {off} more disabled" if off else ""),
    )
    for warning in config.warnings:
        section.warning("secret", warning, "make one with: echo whsec_$(openssl rand -base64 32)")
    if not enabled:
        section.warning("config", "no trigger is enabled: nothing will be captured")
    for name in config.databases:
        if name not in captured and name != config.eventing.database and not config.databases[name].channels:
            section.warning("config", f"the database {name} has no enabled trigger: it is not looked at")
    return section


async def _database(config: Config, database: Database, triggers: Sequence[Trigger], known: Position | None) -> Section:
    section = Section(f"database {database.name}")
    try:
        with translated(database):
            server = await reach(section, database)
            if server is None:
                return section
            async with server.connection:
                if database.capture is Capture.TRIGGERS:
                    with told(section, "changelog"):
                        await check_log(section, server, config, triggers, known)
                    return section
                with told(section, "server"):
                    await check_server(section, server)
                with told(section, "slot"):
                    await check_slots(section, server, known)
                with told(section, "tables"):
                    await check_captured(section, server, config, triggers, known)
                recommend_triggers(section)
    except CdcdError as error:
        section.unknown("database", str(error), error.hint)
    return section
