"""Everything that the faces (admin API, console) are given, in one value: the daemon's parts as an operator uses them."""

from dataclasses import dataclass

from cdcd.admin.deliveries import Deliveries
from cdcd.admin.editing import Editing
from cdcd.admin.explaining import Explaining
from cdcd.admin.looking import Looking
from cdcd.admin.operations import Operations
from cdcd.admin.overview import Overview
from cdcd.admin.reload import Reload
from cdcd.admin.ticking import Ticking
from cdcd.admin.triggers import Triggers
from cdcd.admin.trying import Trying
from cdcd.config.model import Config


@dataclass(slots=True)
class Admin:
    """Built by `cdcd.app`. `config` is the configuration in force."""

    config: Config
    deliveries: Deliveries
    operations: Operations
    overview: Overview
    reloader: Reload
    explaining: Explaining
    triggers: Triggers
    editing: Editing
    trying: Trying
    ticking: Ticking
    looking: Looking
