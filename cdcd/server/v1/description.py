"""`/v1/openapi.json`: the description of the API, itself included."""

from collections.abc import Sequence

import orjson

from cdcd import __version__
from cdcd.server.openapi import answer, document, operation
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group, Route

_DESCRIBE = operation("describe", "This description.", {200: answer("This description.", {"type": "object"})})


def routes(others: Sequence[Group]) -> Group:
    """The route; `others` are all other groups."""

    async def describe(_: Call) -> Reply:
        return Reply(200, body)

    group = Group((Route("GET", "/v1/openapi.json", describe, operation=_DESCRIBE, open=True),))
    body = orjson.dumps(document([*others, group], __version__))
    return group
