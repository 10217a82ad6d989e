"""Every kind of mistake, told with its place and the nearest valid name; all of a file at once."""

from pathlib import Path
from textwrap import dedent

import pytest

from cdcd.config import load
from cdcd.errors import ConfigError

VALID = """\
project: shop
secret: 0123456789abcdef01234567
databases: {main: {url: postgresql://localhost/shop}}
"""
TRIGGER = VALID + "triggers:\n  t:\n    type: DB_INSERT\n    table: users\n    webhook: http://localhost:9000/\n"


def mistakes(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return [mistake.removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]


MISTAKES = {
    # YAML itself
    "not yaml": ("project: [", "c.yaml:2:1: not YAML: did not find expected node content"),
    "key twice": (TRIGGER + "project: b\n", "c.yaml:9:1: 'project' stands here twice; the first is in line 1"),
    "not a mapping": ("- a\n", "c.yaml:1:1: must be a mapping"),
    "tag": (VALID + "include: !thing x\n", "c.yaml:4:10: a tag, which means nothing here"),
    "endless alias": (VALID + "limits: &a\n  x: *a\n", "c.yaml:4:9: an alias that holds itself"),
    "endless merge": (VALID + "limits: &a\n  <<: *a\n", "c.yaml:4:9: an alias that holds itself"),
    "merge of text": (VALID + "limits:\n  <<: 5\n", "c.yaml:5:7: `<<` takes a mapping or a list of mappings"),
    "key is a list": (VALID + "? [a]\n: b\n", "c.yaml:4:3: a key must be text"),
    # names of options
    "unknown option": (VALID + "projcet: x\n", "c.yaml:4:1: unknown option 'projcet'; did you mean 'project'?"),
    "unknown, none near": (
        VALID + "eventing: {qqq: x}\n",
        "c.yaml:4:12: eventing: unknown option 'qqq'; there are database, retention, schema, state_dir",
    ),
    "not there yet": (
        TRIGGER + "    batch: {max: 100}\n",
        "c.yaml:9:5: triggers.t: 'batch' is not there yet: each event goes in a request of its own",
    ),
    "queue": (
        VALID + "queue: {}\n",
        "c.yaml:4:1: 'queue' is not an option: custom events are a trigger's `type`, and what may be queued stands under `events`",
    ),
    "missing": ("secret: 0123456789abcdef01234567\n", "c.yaml:1:1: 'project' is missing"),
    "missing inside": (VALID + "triggers:\n  t: {}\n", "c.yaml:5:3: triggers.t: 'webhook' is missing"),
    # kinds of values
    "bare duration": (
        VALID + "eventing: {retention: 7}\n",
        "c.yaml:4:23: eventing.retention: a duration needs a unit: ms, s, m, h, d or w, as in 5s or 1h30m",
    ),
    "no duration": (
        VALID + "limits: {shutdown: soon}\n",
        "c.yaml:4:20: limits.shutdown: not a duration; write it as in 250ms, 5s, 1h30m or 7d",
    ),
    "bare size": (
        VALID + "limits: {payload: 5}\n",
        "c.yaml:4:19: limits.payload: a size needs a unit: B, KB, MB, GB, KiB, MiB or GiB, as in 64MiB",
    ),
    "no size": (
        VALID + "limits: {payload: big}\n",
        "c.yaml:4:19: limits.payload: not a size; write it as in 512KiB, 64MiB or 1GB",
    ),
    "number": (VALID + "limits: {in_flight: many}\n", "c.yaml:4:21: limits.in_flight: must be a whole number"),
    "truth as number": (VALID + "limits: {in_flight: true}\n", "c.yaml:4:21: limits.in_flight: must be a whole number"),
    "huge number": (
        VALID + f"limits: {{in_flight: {'9' * 5000}}}\n",
        "c.yaml:4:21: a number with more digits than cdcd reads; put it in quotes if it is text",
    ),
    "too small": (VALID + "limits: {concurrency: 0}\n", "c.yaml:4:23: limits.concurrency: must be at least 1"),
    "text": (VALID.replace("shop\n", "5\n", 1), "c.yaml:1:10: project: must be text; put it in quotes"),
    "truth": (TRIGGER + "    enabled: perhaps\n", "c.yaml:9:14: triggers.t.enabled: must be true or false"),
    "mapping": (VALID + "triggers: {t: [1]}\n", "c.yaml:4:15: triggers.t: must be a mapping"),
    "empty mapping": (VALID + "triggers:\n  t:\n", "c.yaml:5:5: triggers.t: is empty; it must be a mapping"),
    "list": (VALID.replace("secret: 0123456789abcdef01234567", "secrets: x"), "c.yaml:2:10: secrets: must be a list"),
    "project": (
        VALID.replace("shop\n", "My-Shop\n", 1),
        "c.yaml:1:10: project: must be lowercase letters, digits and _, begin",
    ),
    # choices
    "type": (
        TRIGGER.replace("DB_INSERT", "DB_INSRT"),
        "c.yaml:6:11: triggers.t.type: no such type; did you mean 'DB_INSERT'?",
    ),
    "type in a list": (
        TRIGGER.replace("DB_INSERT", "[DB_INSERT, db_insert]"),
        "c.yaml:6:23: triggers.t.type[2]: no such type; did you mean 'DB_INSERT'?",
    ),
    "type that is none": (
        TRIGGER.replace("DB_INSERT", "DB_VACUUM_FULL_ANALYZE"),
        "c.yaml:6:11: triggers.t.type: no such type; there are DB_INSERT, DB_UPDATE, DB_DELETE, DB_TRUNCATE, FILE_CREATE, "
        "FILE_UPDATE, FILE_DELETE, SCHEDULE",
    ),
    "type that is no name": (
        TRIGGER.replace("DB_INSERT", "'an order'").replace("    table: users\n", ""),
        "c.yaml:6:11: triggers.t.type: a custom type is letters, digits and _ . : / -, begins with a letter, and has at most 100 of them",
    ),
    "types of two kinds": (
        TRIGGER.replace("DB_INSERT", "[DB_INSERT, ORDER_PAID]"),
        "c.yaml:6:11: triggers.t.type: all types of a trigger come from one kind of source; make a trigger for each",
    ),
    "selector of another kind": (
        TRIGGER.replace("DB_INSERT", "ORDER_PAID"),
        "c.yaml:7:5: triggers.t.table: has no meaning in a custom trigger; it is for DB_* triggers",
    ),
    "no table": (
        VALID + "triggers:\n  t:\n    type: DB_INSERT\n    webhook: http://a\n",
        "c.yaml:5:3: triggers.t: 'table' is missing",
    ),
    "no store": (
        VALID + "triggers:\n  t:\n    type: FILE_CREATE\n    webhook: http://a\n",
        "c.yaml:5:3: triggers.t: there is no store: name one under `storage`",
    ),
    "no such storage": (
        VALID
        + "storage: {uploads: {path: /a}}\ntriggers:\n  t:\n    type: FILE_CREATE\n    storage: upload\n    webhook: http://a\n",
        "c.yaml:8:14: triggers.t.storage: there is no store 'upload'; did you mean 'uploads'?",
    ),
    "glob": (
        VALID + "storage: {uploads: {path: /a, ignore: '/x'}}\n",
        "c.yaml:4:39: storage.uploads.ignore: not a glob of paths: they are relative, as in images/**/*.png, and do not end in /",
    ),
    "no schedule": (
        VALID + "triggers:\n  t:\n    type: SCHEDULE\n    webhook: http://a\n",
        "c.yaml:5:3: triggers.t: 'schedule' is missing; write it as cron does: `0 9 * * 1-5`",
    ),
    "schedule of six fields": (
        VALID + "triggers:\n  t:\n    type: SCHEDULE\n    schedule: 0 0 9 * * 1\n    webhook: http://a\n",
        "c.yaml:7:15: triggers.t.schedule: has 6 fields instead of five: minute hour day month weekday",
    ),
    "schedule that is never due": (
        VALID + "triggers:\n  t:\n    type: SCHEDULE\n    schedule: 0 0 30 2 *\n    webhook: http://a\n",
        "c.yaml:7:15: triggers.t.schedule: not a schedule: bad day-of-month; the fields are minute hour day month weekday",
    ),
    "time zone": (
        VALID
        + "triggers:\n  t:\n    type: SCHEDULE\n    schedule: 0 9 * * *\n    timezone: Europe/Berln\n    webhook: http://a\n",
        "c.yaml:8:15: triggers.t.timezone: no such time zone; did you mean 'Europe/Berlin'?",
    ),
    "queued type of cdcd's own": (
        VALID + "events: {DB_INSERT: {}}\n",
        "c.yaml:4:21: events.DB_INSERT: events of this type come from their source alone; a custom type begins with neither DB_ nor FILE_",
    ),
    "listen": (
        VALID + "server: '4122'\n",
        "c.yaml:4:9: server: not an address; write it as in 127.0.0.1:4122 or [::1]:4122",
    ),
    "expression in the host": (
        TRIGGER.replace("http://localhost:9000/", "http://${ new.host }/x"),
        "c.yaml:8:14: triggers.t.webhook: scheme, host and port must be plain; expressions may stand in path and query",
    ),
    "expression without an end": (
        TRIGGER.replace("http://localhost:9000/", "'http://a/${ new.x'"),
        "c.yaml:8:14: a ${ without its }; a plain ${ is written $${",
    ),
    "order": (
        TRIGGER + "    order: kye\n",
        "c.yaml:9:12: triggers.t.order: 'kye' is not one of key, none, all; did you mean 'key'?",
    ),
    # secrets
    "no secret": ("project: a\n", "c.yaml:1:1: 'secret' is missing; make one with: echo whsec_$(openssl rand -base64 32)"),
    "both secrets": (
        VALID + "secrets: [{value: 0123456789abcdefg}]\n",
        "c.yaml:4:1: secrets: give `secret` or `secrets`, not both",
    ),
    "short secret": (
        VALID.replace("0123456789abcdef01234567", "hunter2"),
        "c.yaml:2:9: secret: must have at least 16 bytes; make one with: echo whsec_$(openssl rand -base64 32)",
    ),
    "short whsec": (
        VALID.replace("0123456789abcdef01234567", "whsec_aGVsbG8gaGVsbG8gaGVsbG8="),
        "c.yaml:2:9: secret: whsec_ must be followed by base64 of 24 to 64 bytes; make one with",
    ),
    "whsec no base64": (
        VALID.replace("0123456789abcdef01234567", "whsec_?????"),
        "c.yaml:2:9: secret: whsec_ must be followed by base64 of 24 to 64 bytes; make one with",
    ),
    "same kid": (
        "project: a\nsecrets:\n- {value: 0123456789abcdefx, kid: a}\n- {value: 0123456789abcdefy, kid: a}\n",
        "c.yaml:4:11: secrets[2].value: another secret has the same kid",
    ),
    # substitution
    "env": (
        VALID.replace("0123456789abcdef01234567", "${env:CDCD_SECRT}"),
        "c.yaml:2:9: the environment variable CDCD_SECRT is not set; did you mean CDCD_SECRET?",
    ),
    "file": (
        VALID.replace("0123456789abcdef01234567", "${file:nowhere}"),
        "c.yaml:2:9: the file nowhere cannot be read: No such file or directory",
    ),
    "no credentials": (
        VALID.replace("0123456789abcdef01234567", "${credential:secret}"),
        "c.yaml:2:9: there is no credential secret: systemd gave none: see LoadCredential= in the unit",
    ),
    "plain dollar": (
        VALID.replace("0123456789abcdef01234567", "${SECRET}"),
        "c.yaml:2:9: write ${env:NAME}, ${file:PATH} or ${credential:NAME}; a plain ${ is written $${",
    ),
    "unclosed": (
        VALID.replace("0123456789abcdef01234567", "'${env:HOME'"),
        "c.yaml:2:9: write ${env:NAME}, ${file:PATH} or ${credential:NAME}; a plain ${ is written $${",
    ),
    "in an expression": (
        TRIGGER + "    when: new.a == '${env:A}'\n",
        "c.yaml:9:11: an expression is taken as it is written; nothing is put into it for ${...}",
    ),
    # databases and the store
    "database name": (
        VALID.replace("main:", "Main:"),
        "c.yaml:3:13: databases.Main: a database's name is lowercase letters, digits and _",
    ),
    "database url": (
        VALID.replace("postgresql:", "mysql:"),
        "c.yaml:3:25: databases.main.url: must begin with postgresql://, or be libpq's key=value form",
    ),
    "database url, port": (
        VALID.replace("localhost", "localhost:x"),
        "c.yaml:3:25: databases.main.url: a part of the user or the password would be taken for the host, the port or the database",
    ),
    "database url, key=value": (
        VALID.replace("postgresql://localhost/shop", "host=h prot=5"),
        "c.yaml:3:25: databases.main.url: cannot be read as key=value; put a value with spaces or quotes in single quotes",
    ),
    "slot": (
        VALID.replace("{url:", "{slot: A-b, url:"),
        "c.yaml:3:26: databases.main.slot: must be lowercase letters, digits and _",
    ),
    "no such store": (
        VALID + "eventing: {database: mian}\n",
        "c.yaml:4:22: eventing.database: there is no database 'mian'; did you mean 'main'?",
    ),
    "public store": (
        VALID + "eventing: {schema: public}\n",
        "c.yaml:4:20: eventing.schema: must be a schema of cdcd's own, not public",
    ),
    "pg store": (VALID + "eventing: {schema: pg_x}\n", "c.yaml:4:20: eventing.schema: is a schema of PostgreSQL's own"),
    "no such database": (
        TRIGGER + "    database: mani\n",
        "c.yaml:9:15: triggers.t.database: there is no database 'mani'; did you mean 'main'?",
    ),
    "which database": (
        TRIGGER.replace("{main:", "{other: {url: postgresql://b/c}, main:"),
        "c.yaml:5:3: triggers.t: 'database' is missing; there are main, other",
    ),
    "no database": (
        TRIGGER.replace("databases: {main: {url: postgresql://localhost/shop}}\n", ""),
        "c.yaml:4:3: triggers.t: there is no database: name one under `databases`",
    ),
    # triggers
    "trigger name": (
        TRIGGER.replace("  t:", "  'a b':"),
        "c.yaml:5:3: triggers.a b: a trigger's name is letters, digits, _ and -",
    ),
    "table": (
        TRIGGER.replace("users", "a.b.c"),
        'c.yaml:7:12: triggers.t.table: not a table; write schema.table, or "quote" a name with a dot or a space in it',
    ),
    "own table": (
        TRIGGER.replace("users", "cdcd.event_logs") + "eventing: {database: main}\n",
        "c.yaml:7:12: triggers.t.table: is a table of cdcd's own schema, whose changes make no events",
    ),
    "columns": (
        TRIGGER + "    columns: [a]\n",
        "c.yaml:9:5: triggers.t.columns: has no meaning without DB_UPDATE in `type`",
    ),
    "key and order": (
        TRIGGER + "    order: all\n    key: new.a\n",
        "c.yaml:10:5: triggers.t.key: has no meaning with `order: all`; leave one of them out",
    ),
    "retries": (TRIGGER + "    retries: -1\n", "c.yaml:9:14: triggers.t.retries: must be at least 0"),
    "retry text": (TRIGGER + "    retries: often\n", "c.yaml:9:14: triggers.t.retries: must be a whole number"),
    "no_retry": (TRIGGER + "    retries: {no_retry: 200}\n", "c.yaml:9:25: triggers.t.retries.no_retry: must be at least 300"),
    "first over max_interval": (
        TRIGGER + "    retries: {first: 2h}\n",
        "c.yaml:9:15: triggers.t.retries.first: `first` is longer than `max_interval`",
    ),
    "jitter": (TRIGGER + "    retries: {jitter: 2}\n", "c.yaml:9:23: triggers.t.retries.jitter: must be at most 1"),
    # webhooks
    "relative": (
        TRIGGER.replace("http://localhost:9000/", "/hook"),
        "c.yaml:8:14: triggers.t.webhook: must be absolute and begin with http:// or https://",
    ),
    "scheme": (
        TRIGGER.replace("http://", "htp://"),
        "c.yaml:8:14: triggers.t.webhook: must be absolute and begin with http:// or https://; did you mean 'http'?",
    ),
    "no host": (TRIGGER.replace("http://localhost:9000/", "http:///x"), "c.yaml:8:14: triggers.t.webhook: has no host"),
    "port": (TRIGGER.replace(":9000", ":99999"), "c.yaml:8:14: triggers.t.webhook: not a URL"),
    "port 0": (TRIGGER.replace(":9000", ":0"), "c.yaml:8:14: triggers.t.webhook: has no valid port"),
    "ipv6": (TRIGGER.replace("//localhost:9000", "//[::1"), "c.yaml:8:14: triggers.t.webhook: not a URL"),
    "space": (
        TRIGGER.replace("9000/", "9000/a b"),
        "c.yaml:8:14: triggers.t.webhook: a URL has no spaces or control characters",
    ),
    "userinfo": (
        TRIGGER.replace("localhost", "me:hunter2@localhost"),
        "c.yaml:8:14: triggers.t.webhook: must not hold a user and password; give an Authorization header under `headers`",
    ),
    "fragment": (
        TRIGGER.replace("9000/", "9000/#a"),
        "c.yaml:8:14: triggers.t.webhook: has a fragment (#...), which is never sent",
    ),
    "timeout": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, timeout: 0s}"),
        "c.yaml:8:39: triggers.t.webhook.timeout: must be more than 0 (seconds)",
    ),
    "own header": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, headers: {Webhook-Id: x}}"),
        "c.yaml:8:40: triggers.t.webhook.headers.Webhook-Id: is set by cdcd itself and cannot be given",
    ),
    "header name": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, headers: {'X Y': x}}"),
        "c.yaml:8:40: triggers.t.webhook.headers.X Y: is no name for a header",
    ),
    "header twice": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, headers: {X: x, x: y}}"),
        "c.yaml:8:46: triggers.t.webhook.headers.x: stands here twice in different case",
    ),
    "header lines": (
        TRIGGER.replace("http://localhost:9000/", '{url: http://a, headers: {X: "a\\r\\nHost: b"}}'),
        "c.yaml:8:43: triggers.t.webhook.headers.X: a header's value cannot have line breaks or control characters",
    ),
    "header number": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, headers: {X: 5}}"),
        "c.yaml:8:43: triggers.t.webhook.headers.X: must be text; put it in quotes",
    ),
    "ca": (
        TRIGGER.replace("http://localhost:9000/", "{url: https://a, ca: nowhere.pem}"),
        "c.yaml:8:35: triggers.t.webhook.ca: there is no file nowhere.pem",
    ),
    "key without certificate": (
        TRIGGER.replace("http://localhost:9000/", "{url: https://a, client_key: c.yaml}"),
        "c.yaml:8:31: triggers.t.webhook.client_key: has no meaning without `client_cert`",
    ),
    "egress": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, egress: publc}"),
        "c.yaml:8:38: triggers.t.webhook.egress: 'publc' is not one of private, public; did you mean 'public'?",
    ),
    "network": (
        TRIGGER.replace("http://localhost:9000/", "{url: http://a, egress: {allow: 10.0.0.1/8}}"),
        "c.yaml:8:46: triggers.t.webhook.egress.allow: not a network; write it as in 10.0.0.0/8 or 192.0.2.7/32",
    ),
    "include": (VALID + "include: nowhere.yaml\n", "c.yaml:4:10: include: there is no file nowhere.yaml"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    text, expected = MISTAKES[name]
    found = mistakes(tmp_path, text, {"CDCD_SECRET": "x" * 24})
    assert any(mistake.startswith(expected) for mistake in found), "\n".join(found)


@pytest.mark.parametrize("name", sorted(MISTAKES.keys() - {"missing inside", "key is a list", "both secrets", "no secret"}))
def test_one_mistake_is_told_once(tmp_path: Path, name: str) -> None:
    found = mistakes(tmp_path, MISTAKES[name][0], {"CDCD_SECRET": "x" * 24})
    assert len(found) == 1 or name in ("missing", "missing inside", "endless alias", "list", "merge of text"), "\n".join(found)


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = dedent("""\
        project: Shop
        secret: short
        databases: {main: {url: mysql://x}}
        limits: {payload: 5}
        triggers:
          t: {type: DB_INSRT, table: a b, webhook: x, order: kye}
        """)
    places = [mistake.split(": ")[0] for mistake in mistakes(tmp_path, text)]
    assert places == ["c.yaml:1:10", "c.yaml:2:9", "c.yaml:3:25", "c.yaml:4:19", *(f"c.yaml:6:{at}" for at in (13, 30, 44, 54))]


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml", {})
    assert caught.value.mistakes == [f"{tmp_path}/none.yaml:1:1: cannot be read: No such file or directory"]
    (tmp_path / "latin.yaml").write_bytes(b"project: caf\xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(tmp_path / "latin.yaml", {})


def test_included_files_are_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.yaml").write_text("triggers:\n  t: {type: DB_X, table: a, webhook: http://a}\n")
    (tmp_path / "more" / "b.yaml").write_text("trigers: {}\n")
    (tmp_path / "more" / "c.yaml").write_text("triggers: [\n")
    assert mistakes(tmp_path, TRIGGER + "include: more/*.yaml\n") == [
        f"more/a.yaml:2:3: triggers.t: there is another trigger of this name at {tmp_path}/c.yaml:5:3",
        "more/a.yaml:2:13: triggers.t.type: no such type; there are DB_INSERT, DB_UPDATE, DB_DELETE, DB_TRUNCATE, FILE_CREATE, "
        "FILE_UPDATE, FILE_DELETE, SCHEDULE",
        "more/b.yaml:1:1: unknown option 'trigers'; did you mean 'triggers'?",
        "more/c.yaml:2:1: not YAML: did not find expected node content",
    ]


SECRET = "hunter2-and-then-some-more"
HIDDEN = """\
project: ${env:S}
secret: ${env:S}x
secrets: [{value: "${env:S}", kid: 5}]
databases:
  main: {url: "${env:S}", capture: "${env:S}", slot: "${env:S}", publication: "${file:s}${env:S}${env:S}${env:S}"}
eventing: {database: "${env:S}", schema: "${env:S}", retention: "${env:S}", state_dir: "${env:S}"}
limits: {in_flight: "${env:S}", payload: "${env:S}"}
triggers:
  t:
    type: ["${env:S}"]
    database: ${env:S}
    table: ${env:S} x
    columns: [1, "${env:S}"]
    webhook:
      url: ${env:S}
      headers: {X: "${env:S}\\n${env:S}", Host: "${env:S}"}
      timeout: ${env:S}
      ca: ${env:S}
      client_cert: ${env:S}
      egress: {mode: "${env:S}", allow: ["${env:S}"]}
    retries: {max: "${env:S}", backoff: "${env:S}", first: "${env:S}", jitter: "${env:S}", no_retry: "${env:S}"}
    order: ${env:S}
    format: ${env:S}
    concurrency: ${env:S}
    enabled: ${env:S}
  u: {type: DB_INSERT, table: a, webhook: "http://${env:S}@host/"}
  v: {type: DB_INSERT, table: a, webhook: "ftp://host/${env:S}", retries: "${env:S}"}
include: ["nowhere-${env:S}"]
"""


def test_no_message_shows_what_was_put_in(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(SECRET)
    path = tmp_path / "c.yaml"
    path.write_text(HIDDEN)
    with pytest.raises(ConfigError) as caught:
        load(path, {"S": SECRET})
    assert len(caught.value.mistakes) > 25
    error: BaseException | None = caught.value
    while error is not None:  # nor do the errors behind it, which a traceback would print
        assert SECRET not in f"{error} {error!r} {getattr(error, 'hint', '')}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2%zzhunter2@h/db",
        "postgresql://u:hunter2%00@h/db",
        "postgresql://u:p@hunter2@h/db",
        "postgresql://u:p@@hunter2@h/db",
        "postgresql://u:p/hunter2@h/db",
        "postgresql://u:5432/hunter2@h/db",
        "postgresql://u:hunter2/@h/db",
        "postgresql://u:hunter2",
        "postgresql://u:p@h/db?password=x&hunter2=1",
        "postgresql://u:p@[hunter2/db",
        "host=h password=a hunter2",
        "host=h password='hunter2",
        "host=h hunter2=x",
        "host=h port=hunter2",
    ],
)
def test_a_database_url_that_would_show_its_password_is_refused_without_showing_it(tmp_path: Path, url: str) -> None:
    [mistake] = mistakes(tmp_path, VALID.replace("postgresql://localhost/shop", "'${env:URL}'"), {"URL": url})
    assert "hunter2" not in mistake
    assert "percent-encode" in mistake or url.startswith("host=")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u%40org:p%40%25%2F%3A@h:5432/db?sslmode=require",
        "postgresql://u:p#?[x@h,h2:5433/db",
        "postgresql:///db?host=/tmp/a@b&port=5433",
        "postgresql://u:p@h/a%40b",
        "postgres://u:p@[::1]:5432/db",
        "host=@abstract password='a@b c' dbname=a@b",
    ],
)
def test_a_database_url_that_is_read_as_meant(tmp_path: Path, url: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID.replace("postgresql://localhost/shop", "'${env:URL}'"))
    assert load(path, {"URL": url}).databases["main"].url == url
