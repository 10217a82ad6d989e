"""`POST /v1/reload`: the configuration is read again, and taken over or refused with every reason."""

from typing import Any

import orjson

from cdcd.admin.reload import Reload
from cdcd.errors import ConfigError, TransientError
from cdcd.server.auth import ADMINS
from cdcd.server.openapi import Schema, answer, list_, object_, operation, ref
from cdcd.server.problems import Problem, Reason
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route
from cdcd.server.v1.asked import no_parameters, who

REFUSED = "the configuration was refused; the former one goes on"
_NAMES: Schema = list_({"type": "string"})
_SCHEMAS: dict[str, Any] = {
    "Reloaded": object_(
        ["who", "added", "changed", "removed", "options", "positions", "behind", "kept", "warnings"],
        {
            "who": {"type": "string"},
            "added": {**_NAMES, "description": "Triggers that are new."},
            "changed": {**_NAMES, "description": "Triggers that are not what they were."},
            "removed": {**_NAMES, "description": "Triggers that are gone, or disabled."},
            "options": {**_NAMES, "description": "Other options that changed.", "examples": [["limits.in_flight"]]},
            "positions": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Behind which place the new triggers hold, by database: an LSN, or a number of its change log.",
                "examples": [{"main": "0/1C18F58"}],
            },
            "behind": {**_NAMES, "description": "Databases that have not been read up to there yet."},
            "kept": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "Staged deliveries of triggers that are gone, by trigger.",
            },
            "warnings": _NAMES,
        },
    ),
}
_RELOAD = operation(
    "reload",
    "Read the configuration again and take it over. Answered when the new triggers are active; what is refused changes nothing.",
    {200: answer("It is in force.", ref("Reloaded"))},
    errors=(422, 503),
)


def routes(reloader: Reload) -> Group:
    """The route."""

    async def reload(call: Call) -> Reply:
        no_parameters(call)
        try:
            done = await reloader.reload(who(call.claims))
        except ConfigError as error:
            hints = [Reason(f"fix: {line}") for line in error.hint.splitlines()]
            raise Problem(422, REFUSED, [*(Reason(each) for each in error.mistakes), *hints]) from None
        except TransientError as error:
            raise Problem(503, REFUSED, [Reason(str(error))], headers={"Retry-After": "5"}) from None
        return Reply(200, orjson.dumps(done.plain()))

    return Group((Route("POST", "/v1/reload", reload, ADMINS, _RELOAD),), _SCHEMAS)
