"""All pages of the console: which modules there are. Who may see and do what on them stands beside each route."""

from cdcd.admin.faces import Admin
from cdcd.server.console import (
    bulk,
    delivery,
    editing,
    explaining,
    log,
    operations,
    overview,
    queueing,
    samples,
    schedules,
    signin,
    sources,
    triggers,
    trying,
)
from cdcd.server.console.pages import Pages, see
from cdcd.server.console.templating import static_files
from cdcd.server.events import Events
from cdcd.server.replies import Reply
from cdcd.server.routes import Call, Group
from cdcd.server.sessions import Sessions


def routes(admin: Admin, sessions: Sessions, events: Events) -> Group:
    """The group."""
    pages = Pages(admin.config.project)

    async def home(_: Call) -> Reply:
        return see("/console/")

    home_page, databases = overview.Overview(pages, admin), sources.Sources(pages, admin)
    found = (
        pages.everybody("GET", "/", home),
        pages.everybody("GET", "/console", home),
        pages.everybody("GET", "/console/static/{name}", static_files().serve),
        *signin.routes(pages, sessions),
        *overview.routes(pages, home_page),
        *sources.routes(pages, databases),
        *schedules.routes(pages, admin),
        *samples.routes(pages, admin, {"overview": home_page.part, "databases": databases.part}),
        *log.routes(pages, admin),
        *bulk.routes(pages, admin),
        *operations.routes(pages, admin),
        *delivery.routes(pages, admin),
        *explaining.routes(pages, admin),
        *queueing.routes(pages, admin, events),
        *triggers.routes(pages, admin),
        *editing.routes(pages, admin),
        *trying.routes(pages, admin),
    )
    return Group(found, prefix="/console", form=pages.form)
