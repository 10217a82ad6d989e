"""Puts the server together: which groups of routes there are, and who answers them."""

from collections.abc import Callable

from cdcd.admin.faces import Admin
from cdcd.clock import Clock
from cdcd.lifecycle import Failed
from cdcd.server import watching
from cdcd.server.auth import Tokens
from cdcd.server.console import routes as console
from cdcd.server.events import Events
from cdcd.server.intake import Intake
from cdcd.server.queueing import Queueing
from cdcd.server.routes import Group, Table
from cdcd.server.rules import Rules, compile_rules
from cdcd.server.serving import Handling, Server
from cdcd.server.sessions import Sessions
from cdcd.server.spacecloud import SpaceCloud
from cdcd.server.v1 import (
    compatible,
    deliveries,
    description,
    explaining,
    operations,
    overview,
    reload,
    triggers,
    trying,
    views,
)
from cdcd.server.v1 import events as queue
from cdcd.server.waiting import Waiting
from cdcd.store.inbox import Inbox
from cdcd.store.scheduled import Schedule


def make_server(admin: Admin, dsn: str, waiting: Waiting, wake: Callable[[], None], clock: Clock, failed: Failed) -> Server:
    """The part. `waiting` is what the queue source tells of matches, `wake` tells it that something was queued.

    `admin.config.server` must be there. Raises ConfigError for what `events` says wrongly.
    """
    config = admin.config
    schema = config.eventing.schema
    intake = Intake(Inbox(dsn, schema), wake, clock, failed)
    schedule = Schedule(dsn, schema)

    def handling(rules: Rules) -> Handling:
        config = admin.config
        assert config.server is not None
        queueing = Queueing(config.project, rules, intake, waiting, clock, config.limits.payload)
        events = Events(queueing, schedule)
        events.traced = config.tracing is not None
        tokens = Tokens(config.token_secrets, config.project, clock)
        sessions = Sessions(
            config.token_secrets,
            config.project,
            tokens,
            tls=config.server.tls is not None,
            public_url=config.server.public_url,
        )
        table = Table.of(groups(admin, events, SpaceCloud(config.project, queueing), sessions, tokens))
        return Handling(config.server, table, tokens, sessions, events, config.limits.in_flight_bytes)

    return Server(handling(compile_rules(config)), waiting, intake, schedule, remake=handling)


def groups(admin: Admin, events: Events, space_cloud: SpaceCloud, sessions: Sessions, tokens: Tokens) -> list[Group]:
    """All groups of routes; the description of all others is the last."""
    assert admin.config.server is not None
    found = [
        queue.routes(events),
        deliveries.routes(admin.deliveries, admin.operations),
        operations.routes(admin.operations),
        explaining.routes(admin.explaining),
        triggers.routes(admin.triggers, admin.editing),
        trying.routes(admin.trying),
        views.routes(admin, admin.looking, admin.ticking),
        reload.routes(admin.reloader),
        compatible.routes(space_cloud),
        watching.routes(admin.overview, tokens, admin.config.server),
        overview.routes(admin.overview),
        console.routes(admin, sessions, events),
    ]
    return [*found, description.routes(found)]
