"""Every group of routes that the daemon has, made of parts that are never asked."""

from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from cdcd.admin.faces import Admin
from cdcd.clock import ManualClock
from cdcd.config.model import Config, Eventing, Secret, Server
from cdcd.server.api import groups
from cdcd.server.auth import Tokens
from cdcd.server.events import Events
from cdcd.server.sessions import Sessions
from cdcd.server.spacecloud import SpaceCloud

NOTHING = cast(Any, None)
KEY = Secret(b"k" * 32, "k")
CONFIG = Config("shop", (KEY,), {}, Eventing(None, "cdcd", 1.0, Path()), {}, server=Server("127.0.0.1", 1))
TOKENS = Tokens((KEY,), "shop", ManualClock())
SESSIONS = Sessions((KEY,), "shop", TOKENS)
ADMIN = Admin(CONFIG, *([NOTHING] * (len(fields(Admin)) - 1)))
GROUPS = groups(ADMIN, Events(NOTHING, NOTHING), SpaceCloud("shop", NOTHING), SESSIONS, TOKENS)
