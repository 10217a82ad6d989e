"""`cdcd import` as a command: Supabase's webhooks from a real database, files that are not written over, secrets that are never shown."""

import stat
from pathlib import Path

import pytest

from tests.integration.cli.commands import cdcd, write_config
from tests.postgres import Database
from tests.unit.imports.proved import DATA

SUPABASE = """
CREATE SCHEMA net;
CREATE FUNCTION net.http_post(url text, body jsonb DEFAULT '{}', params jsonb DEFAULT '{}',
    headers jsonb DEFAULT '{"Content-Type": "application/json"}', timeout_milliseconds int DEFAULT 5000)
    RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
CREATE SCHEMA supabase_functions;
CREATE FUNCTION supabase_functions.http_request() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = supabase_functions
AS $$ BEGIN
  PERFORM net.http_post(TG_ARGV[0], jsonb_build_object('old_record', OLD, 'record', NEW, 'type', TG_OP), TG_ARGV[3]::jsonb,
    TG_ARGV[2]::jsonb, TG_ARGV[4]::int);
  RETURN NEW;
END $$;
CREATE TABLE orders (id bigint PRIMARY KEY, status text, total numeric, note text);
CREATE TABLE "Odd Table" (id bigint PRIMARY KEY);
CREATE TABLE full_rows (id bigint PRIMARY KEY, a int, b int);
ALTER TABLE full_rows REPLICA IDENTITY FULL;
CREATE TRIGGER "order hook" AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION supabase_functions.http_request(
  'http://127.0.0.1:1/functions/v1/orders', 'POST',
  '{"Content-type":"application/json","Authorization":"Bearer hook-secret-value","X-Env":"production"}', '{"kind":"a b"}', '5000');
CREATE TRIGGER paid AFTER UPDATE ON orders FOR EACH ROW WHEN (NEW.status = 'paid' AND OLD.status IS DISTINCT FROM NEW.status)
  EXECUTE FUNCTION supabase_functions.http_request('http://127.0.0.1:1/paid', 'POST', '{}', '{}', '1000');
CREATE TRIGGER fetched AFTER INSERT ON "Odd Table" FOR EACH ROW
  EXECUTE FUNCTION supabase_functions.http_request('http://127.0.0.1:1/fetch?apikey=url-secret-value', 'GET', '{}', '{}', '2000');
CREATE TRIGGER fetched AFTER UPDATE OF a, b ON full_rows FOR EACH ROW
  EXECUTE FUNCTION supabase_functions.http_request('http://127.0.0.1:1/fetch', 'POST', '{}', '{}', '2000');
CREATE TRIGGER shouted AFTER INSERT ON orders FOR EACH ROW WHEN (upper(NEW.status) = 'PAID')
  EXECUTE FUNCTION supabase_functions.http_request('http://127.0.0.1:1/shout', 'POST', '{}', '{}', '1000');
CREATE TRIGGER asleep AFTER INSERT ON orders FOR EACH ROW
  EXECUTE FUNCTION supabase_functions.http_request('http://127.0.0.1:1/asleep', 'POST', '{}', '{}', '1000');
ALTER TABLE orders DISABLE TRIGGER asleep;
CREATE FUNCTION notify_index() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM net.http_post(url := 'http://127.0.0.1:1/rows', body := jsonb_build_object('row', to_jsonb(NEW), 'op', TG_OP),
    headers := '{"Authorization": "Bearer function-secret-value"}'::jsonb);
  RETURN NEW;
END $$;
CREATE TRIGGER indexed AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION notify_index();
CREATE FUNCTION notify_more() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE address text := 'http://127.0.0.1:1';
BEGIN
  IF NEW.total > 5 THEN PERFORM net.http_post(address, to_jsonb(NEW)); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER more AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION notify_more();
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
"""
SECRETS = ("hook-secret-value", "url-secret-value", "function-secret-value")


def test_supabase(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database.execute(SUPABASE)
    before = database.execute("SELECT count(*) FROM pg_trigger")
    config = write_config(tmp_path, database.tcp_dsn, {}, include="triggers/*.yaml")
    (tmp_path / "triggers").mkdir()
    target = tmp_path / "triggers" / "supabase.yaml"
    secrets = tmp_path / "imported.env"
    result = cdcd("import", "supabase", "-c", config, "-o", target, "--env-file", secrets)
    assert result.code == 0, result.err
    text = target.read_text()
    assert not [secret for secret in SECRETS if secret in text + result.out + result.err]
    assert "ORDER_HOOK_AUTHORIZATION='Bearer hook-secret-value'" in secrets.read_text()
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert database.execute("SELECT count(*) FROM pg_trigger") == before
    for line in (
        "  order-hook:\n    type:\n    - DB_INSERT\n    - DB_UPDATE\n    - DB_DELETE\n    database: main\n    table: public.orders\n",
        "      url: http://127.0.0.1:1/functions/v1/orders?kind=a%20b\n",
        '    when: new.status == "paid" && old.status != new.status\n',
        "  Odd-Table-fetched:\n",
        '    table: public."Odd Table"\n',
        "      method: GET\n",
        "  full_rows-fetched:\n",
        "    - a\n    - b\n",
        "      old_record: ${ old }\n",
        "      row: ${ new }\n",
    ):
        assert line in text
    assert "trigger more on public.orders: more: its function public.notify_more does more than send a request" in result.err
    assert "OFF trigger shouted on public.orders" in result.err
    assert 'when cdcd runs: DROP TRIGGER "order hook" ON "public"."orders";' in result.err
    assert "touched" not in text
    assert "The main file" not in text  # which has its database already
    for name in ("ORDER_HOOK_AUTHORIZATION", "INDEXED_AUTHORIZATION", "ODD_TABLE_FETCHED_APIKEY"):
        monkeypatch.setenv(name, "value")
    checked = cdcd("check", "-c", config, "--json")
    assert {finding["code"] for finding in checked.found("mistake")} == {"identity"}, checked.out
    assert "(Odd-Table-fetched, full_rows-fetched, indexed, order-hook and 1 more)" in checked.out
    again = cdcd("import", "supabase", "-c", config, "-o", target)
    assert again.code == 1
    assert "is there already" in again.err
    assert target.read_text() == text


def test_supabase_by_url_says_what_it_could_not_reach(tmp_path: Path) -> None:
    none = tmp_path / "none.yaml"
    result = cdcd("import", "supabase", "-c", none, "--url", "postgresql://x:pass-word@127.0.0.1:1/x")
    assert result.code == 2
    assert "cannot be read" in result.err
    assert "pass-word" not in result.err


def test_hasura_and_space_cloud_go_to_stdout(tmp_path: Path) -> None:
    result = cdcd("import", "hasura", DATA / "hasura", "--database", "default=main")
    assert result.code == 0
    assert "  order_status:\n" in result.out
    assert "public_orders.yaml:" in result.err
    assert "Set EVENT_SECRET (" in result.err
    result = cdcd("import", "space-cloud", DATA / "space-cloud", "--database", "mydb=main", "--env-file", tmp_path / "env")
    assert result.code == 0
    assert "database: main" in result.out
    assert "# MAIN_URL=\n" in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["space-cloud", "none.yaml"], 1, "cannot be read"),
        (["space-cloud", "broken.yaml"], 1, "broken.yaml:2: not YAML"),
        (["hasura", "other.json"], 1, "No trigger was found"),
        (["hasura", "other.json", "--database", "a=B C"], 2, "OLD=NEW"),
        (["supabase", "-c", "none.yaml"], 1, "no database to read"),
    ],
)
def test_refusals(arguments: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "broken.yaml").write_text("a: b\n  c: [\n")
    (tmp_path / "other.json").write_text('{"version": 3, "sources": []}')
    result = cdcd("import", *[str(tmp_path / each) if each.endswith((".yaml", ".json")) else each for each in arguments])
    assert (result.code, told in result.err.replace("\n", " ")) == (code, True), result.err
