"""Puts the API together: which handlers there are, on which routes."""

from collections.abc import Callable

import orjson

from cdcd import __version__
from cdcd.admin.faces import Admin
from cdcd.clock import Clock
from cdcd.lifecycle import Failed
from cdcd.server.auth import Tokens
from cdcd.server.events import Events
from cdcd.server.intake import Intake
from cdcd.server.openapi import description
from cdcd.server.queueing import Queueing
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Route, Table
from cdcd.server.rules import compile_rules
from cdcd.server.serving import Server
from cdcd.server.spacecloud import SpaceCloud
from cdcd.server.waiting import Waiting
from cdcd.store.inbox import Inbox
from cdcd.store.scheduled import Schedule


def make_server(admin: Admin, dsn: str, waiting: Waiting, wake: Callable[[], None], clock: Clock, failed: Failed) -> Server:
    """The part. `waiting` is what the queue source tells of matches, `wake` tells it that something was queued.

    `admin.config.server` must be there. Raises ConfigError for what `events` says wrongly.
    """
    config = admin.config
    assert config.server is not None
    schema = config.eventing.schema
    intake = Intake(Inbox(dsn, schema), wake, clock, failed)
    schedule = Schedule(dsn, schema)
    queueing = Queueing(config.project, compile_rules(config), intake, waiting, clock, config.limits.payload)
    events = Events(queueing, schedule)
    return Server(
        config.server,
        table(events, SpaceCloud(config.project, queueing)),
        Tokens(config.token_secrets, config.project, clock),
        events,
        waiting,
        intake,
        schedule,
        in_flight_bytes=config.limits.in_flight_bytes,
    )


def table(events: Events, space_cloud: SpaceCloud) -> Table:
    """All routes."""
    document = orjson.dumps(description(__version__))

    async def describe(_: Call) -> Reply:
        return Reply(200, document)

    return Table.of(
        [
            Route("POST", "/v1/events", events.queue, body=True),
            Route("GET", "/v1/events/scheduled", events.scheduled),
            Route("DELETE", "/v1/events/scheduled/{id}", events.cancel),
            Route("PATCH", "/v1/events/scheduled/{id}", events.move, body=True),
            Route("POST", "/v1/api/{project}/eventing/queue", space_cloud.queue, body=True, space_cloud=True),
            Route("POST", "/v1/api/{project}/eventing/admin-queue", space_cloud.admin_queue, body=True, space_cloud=True),
            Route("GET", "/v1/openapi.json", describe, open=True),
        ]
    )
