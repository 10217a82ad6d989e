"""Shapes without mistakes become the frozen values of `model`: defaults that depend on other options, paths, keys."""

from pathlib import Path

from cdcd.config.checks import endpoint, secrets_of
from cdcd.config.document import Document, Route
from cdcd.config.model import Config, Database, Eventing, Limits, Retries, Secret, TriggerConfig, Webhook
from cdcd.config.secrets import ADVISED, secret_key
from cdcd.config.shape import ConfigShape, IncludedShape, RetriesShape, TriggerShape, WebhookShape


def build(path: Path, main: Document, shape: ConfigShape, included: list[tuple[Document, IncludedShape]]) -> Config:
    """The Config of valid shapes."""
    databases = {
        name: Database(
            name=name,
            url=database.url,
            capture=database.capture,
            slot=database.slot or f"cdcd_{shape.project}_{name}",
            publication=database.publication or f"cdcd_{shape.project}_{name}",
        )
        for name, database in shape.databases.items()
    }
    triggers: dict[str, TriggerConfig] = {}
    parts: list[tuple[Document, ConfigShape | IncludedShape]] = [(main, shape), *included]
    for document, part in parts:
        for name, trigger in part.triggers.items():
            triggers[name] = _trigger(document, name, trigger, next(iter(databases), ""))
    secrets, warnings = _secrets(main)
    eventing = shape.eventing
    return Config(
        project=shape.project,
        secrets=secrets,
        databases=databases,
        eventing=Eventing(eventing.database, eventing.schema_, eventing.retention, main.path(eventing.state_dir)),
        triggers=triggers,
        limits=Limits(**shape.limits.model_dump()),
        path=path,
        warnings=warnings,
    )


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


def _trigger(document: Document, name: str, shape: TriggerShape, database: str) -> TriggerConfig:
    route: Route = ("triggers", name)
    return TriggerConfig(
        name=name,
        types=frozenset(shape.type),
        database=shape.database or database,
        tables=tuple(shape.table),
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
        places={
            option: str(document.place((*route, option))) for option in ("type", "table", "columns", "when", "key", "webhook")
        },
    )


def _webhook(document: Document, shape: WebhookShape) -> Webhook:
    def file(text: str | None) -> Path | None:
        return None if text is None else document.path(text)

    return Webhook(
        url=shape.url,
        endpoint=endpoint(shape.url),
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
