"""Shapes without mistakes become the frozen values of `model`: defaults that depend on other options, paths, keys."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cdcd.config.checks import endpoint, is_loopback, secrets_of
from cdcd.config.document import Document, Route
from cdcd.config.model import (
    Canary,
    Config,
    CustomType,
    Database,
    Eventing,
    Kind,
    Limits,
    Retries,
    Schedule,
    Secret,
    Server,
    Storage,
    Tracing,
    TriggerConfig,
    Webhook,
)
from cdcd.config.outline import routes_of
from cdcd.config.quantities import host_and_port
from cdcd.config.secrets import ADVISED, secret_key
from cdcd.config.shape import (
    CanaryShape,
    ConfigShape,
    EventShape,
    IncludedShape,
    RetriesShape,
    ServerShape,
    StorageShape,
    TracingShape,
    TriggerShape,
    WebhookShape,
)
from cdcd.config.types import LAST_RESORT, kind_of


def build(path: Path, main: Document, shape: ConfigShape, included: list[tuple[Document, IncludedShape]]) -> Config:
    """The Config of valid shapes."""
    databases = {
        name: Database(
            name=name,
            url=database.url,
            capture=database.capture,
            slot=database.slot or f"cdcd_{shape.project}_{name}",
            publication=database.publication or f"cdcd_{shape.project}_{name}",
            channels=tuple(database.channels.items()),
            wal_budget=database.wal_budget,
        )
        for name, database in shape.databases.items()
    }
    triggers: dict[str, TriggerConfig] = {}
    parts: list[tuple[Document, ConfigShape | IncludedShape]] = [(main, shape), *included]
    for document, part in parts:
        for name, trigger in part.triggers.items():
            triggers[name] = _trigger(document, name, trigger, next(iter(databases), ""), next(iter(shape.storage), ""))
    secrets, warnings = _secrets(main)
    eventing = shape.eventing
    return Config(
        project=shape.project,
        secrets=secrets,
        databases=databases,
        eventing=Eventing(eventing.database, eventing.schema_, eventing.retention, main.path(eventing.state_dir)),
        triggers=triggers,
        limits=Limits(**shape.limits.model_dump()),
        storage={name: _storage(main, name, store) for name, store in shape.storage.items()},
        events={name: _event(main, name, event or EventShape()) for name, event in shape.events.items()},
        server=_server(main, shape.server) if shape.server is not None else None,
        canary=_canary(shape.canary, next(iter(databases), "")) if shape.canary is not None else None,
        tracing=_tracing(shape.tracing) if shape.tracing is not None else None,
        reload=shape.reload,
        include=tuple(str(main.base / Path(pattern).expanduser()) for pattern in shape.include),
        path=path,
        warnings=(*warnings, *_in_the_clear(main, shape.server), *_last_resorts(triggers)),
    )


def _last_resorts(triggers: Mapping[str, TriggerConfig]) -> Iterator[str]:
    """Words on triggers that want the last resort of one that is not there."""
    for trigger in triggers.values():
        for kind in sorted(trigger.types):
            name = kind.removeprefix(LAST_RESORT)
            if name != kind and name not in triggers:
                close = get_close_matches(name, triggers, n=1)
                nearest = f"; did you mean {LAST_RESORT}{close[0]}?" if close else ""
                where = f"{trigger.place('type')}: triggers.{trigger.name}.type"
                yield f"{where}: no trigger is named {name}, so cdcd itself never queues {kind}{nearest}"


def _secrets(main: Document) -> tuple[tuple[Secret, ...], tuple[str, ...]]:
    assert isinstance(main.data, dict)
    secrets: list[Secret] = []
    warnings: list[str] = []
    for route, value, kid in secrets_of(main.data):
        secret = secret_key(value, kid)
        secrets.append(secret)
        if len(secret.value) < ADVISED:
            warnings.append(f"{main.place(route)}: the secret has fewer than {ADVISED} bytes, which makes it easier to guess")
    return tuple(secrets), tuple(warnings)


def _server(main: Document, shape: ServerShape) -> Server:
    assert isinstance(main.data, dict)
    secrets = tuple(secret_key(value, kid) for _, value, kid in secrets_of(main.data["server"], ("server",)))
    tls = (main.path(shape.tls.cert), main.path(shape.tls.key or shape.tls.cert)) if shape.tls is not None else None
    return Server(
        *host_and_port(shape.listen),
        secrets=secrets,
        cors=tuple(shape.cors),
        body=shape.body,
        metrics=shape.metrics,
        tls=tls,
        public_url=(shape.public_url or "").rstrip("/").lower(),
    )


def _in_the_clear(main: Document, shape: ServerShape | None) -> Iterator[str]:
    """Words on tokens that everybody on the way can read."""
    if shape is None or shape.tls is not None:
        return
    if not is_loopback(host_and_port(shape.listen)[0]):
        hint = "let them" if (shape.public_url or "").startswith("https:") else "give server.tls, or let them"
        yield (
            f"{main.place(('server', 'listen'))}: server.listen: whoever reaches this address sends tokens in the clear; "
            f"{hint} come by way of a proxy that speaks TLS, and keep everybody else from it"
        )
    elif (shape.public_url or "").startswith("http:"):
        yield (
            f"{main.place(('server', 'public_url'))}: server.public_url: tokens go in the clear to it; let it be https, "
            "unless it is this machine's own"
        )


def _canary(shape: CanaryShape, database: str) -> Canary:
    return Canary(shape.database or database, shape.every, shape.late)


def _tracing(shape: TracingShape) -> Tracing:
    return Tracing(shape.endpoint, tuple(shape.headers.items()), shape.sample)


def _storage(main: Document, name: str, shape: StorageShape) -> Storage:
    return Storage(
        name=name,
        path=main.path(shape.path),
        recursive=shape.recursive,
        ignore=tuple(shape.ignore),
        settle=shape.settle,
        follow_symlinks=shape.follow_symlinks,
        hash=shape.hash,
        existing=shape.existing,
        where=str(main.place(("storage", name), of_key=True)),
    )


def _event(main: Document, name: str, shape: EventShape) -> CustomType:
    return CustomType(name, shape.schema_, shape.allow or "", str(main.place(("events", name), of_key=True)))


def _trigger(document: Document, name: str, shape: TriggerShape, database: str, store: str) -> TriggerConfig:
    route: Route = ("triggers", name)
    kind = kind_of(shape.type[0])
    return TriggerConfig(
        name=name,
        types=frozenset(shape.type),
        kind=kind,
        database=(shape.database or database) if kind is Kind.DATABASE else "",
        tables=tuple(shape.table),
        storage=(shape.storage or store) if kind is Kind.STORAGE else "",
        paths=tuple(shape.path),
        schedule=Schedule(shape.schedule, shape.timezone, shape.missed) if shape.schedule is not None else None,
        payload=shape.payload,
        claims=shape.claims,
        webhook=_webhook(document, shape.webhook),
        columns=frozenset(shape.columns),
        when=shape.when or "",
        retries=_retries(shape.retries),
        order=shape.order,
        key=shape.key or "",
        format=shape.format,
        concurrency=shape.concurrency,
        enabled=shape.enabled,
        where=str(document.place(route, of_key=True)),
        put_in=frozenset(document.put_in.get(name, ())),
        places={option: str(document.place(at)) for option, at in routes_of(name, _written(document, name)).items()},
    )


def _written(document: Document, name: str) -> dict[str, Any]:
    assert isinstance(document.data, dict)
    trigger = document.data["triggers"][name]
    assert isinstance(trigger, dict)
    return trigger


def _webhook(document: Document, shape: WebhookShape) -> Webhook:
    def file(text: str | None) -> Path | None:
        return None if text is None else document.path(text)

    return Webhook(
        url=shape.url,
        endpoint=endpoint(shape.url),
        method=shape.method,
        headers=tuple(shape.headers.items()),
        timeout=shape.timeout,
        ca=file(shape.ca),
        client_cert=file(shape.client_cert),
        client_key=file(shape.client_key),
        egress=shape.egress.mode,
        allow=tuple(shape.egress.allow),
    )


def _retries(shape: RetriesShape) -> Retries:
    return Retries(**{**shape.model_dump(), "no_retry": frozenset(shape.no_retry)})
