"""The Postgres server that cdcd brings along: the event store when no `eventing.database` is named, the demo's shop, and the tests'."""
