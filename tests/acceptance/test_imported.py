"""A trigger that was imported from Supabase sends what the database itself had sent: the same events, bodies, headers and query."""

import json
from pathlib import Path

from cdcd.imports import supabase
from cdcd.imports.catalog import webhook_triggers
from cdcd.imports.proving import prove
from cdcd.imports.writing import written
from tests.acceptance.setting import Setting
from tests.endpoint import Endpoint
from tests.postgres import Database

# As on Supabase, but that pg_net's queue is a table that nobody empties.
SUPABASE = """
CREATE SCHEMA net;
CREATE TABLE net.asked (n serial, url text, body jsonb, params jsonb, headers jsonb);
CREATE FUNCTION net.http_post(url text, body jsonb DEFAULT '{}', params jsonb DEFAULT '{}', headers jsonb DEFAULT '{}',
    timeout_milliseconds int DEFAULT 5000) RETURNS bigint LANGUAGE sql AS
  'INSERT INTO net.asked (url, body, params, headers) VALUES (url, body, params, headers) RETURNING n::bigint';
CREATE SCHEMA supabase_functions;
CREATE FUNCTION supabase_functions.http_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM net.http_post(TG_ARGV[0], jsonb_build_object('old_record', OLD, 'record', NEW, 'type', TG_OP, 'table', TG_TABLE_NAME,
    'schema', TG_TABLE_SCHEMA), TG_ARGV[3]::jsonb, TG_ARGV[2]::jsonb, TG_ARGV[4]::int);
  RETURN NEW;
END $$;
CREATE TABLE orders (id bigint PRIMARY KEY, status text, total numeric, tags text[], about jsonb, at timestamptz);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM net.http_post(url := 'ENDPOINT/told', body := jsonb_build_object('op', TG_OP, 'row', to_jsonb(NEW), 'text', 'No. ' || NEW.id),
    headers := '{"X-Env": "test"}'::jsonb);
  RETURN NEW;
END $$;
CREATE TRIGGER every AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION supabase_functions.http_request(
  'ENDPOINT/every', 'POST', '{"Content-type":"application/json","Authorization":"Bearer key"}', '{"kind":"a b"}', '5000');
CREATE TRIGGER paid AFTER UPDATE ON orders FOR EACH ROW WHEN (NEW.status = 'paid' AND OLD.status IS DISTINCT FROM NEW.status)
  EXECUTE FUNCTION supabase_functions.http_request('ENDPOINT/paid', 'POST', '{}', '{}', '1000');
CREATE TRIGGER not_small AFTER UPDATE ON orders FOR EACH ROW WHEN (NOT (NEW.total < 5 OR NEW.status = 'gone'))
  EXECUTE FUNCTION supabase_functions.http_request('ENDPOINT/not_small', 'POST', '{}', '{}', '1000');
CREATE TRIGGER told AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell();
"""
WORK = """
INSERT INTO orders VALUES (1, 'open', 9.50, '{a,"b c"}', '{"x": [1, null]}', NULL), (2, NULL, NULL, NULL, NULL, NULL);
UPDATE orders SET status = 'paid' WHERE id = 1;
UPDATE orders SET status = 'paid', total = 5 WHERE id = 2;
UPDATE orders SET status = 'paid', total = 3 WHERE id = 2;
UPDATE orders SET status = NULL, total = 30 WHERE id = 2;
UPDATE orders SET status = 'gone', total = 31 WHERE id = 2;
DELETE FROM orders WHERE id = 1;
"""


async def test_supabase(tmp_path: Path, database: Database) -> None:
    async with Endpoint() as endpoint:
        database.execute(SUPABASE.replace("ENDPOINT", endpoint.url("")))
        setting = Setting(tmp_path, database, endpoint)
        found = supabase.translate((await webhook_triggers(database.dsn))[1], "main", known=True)
        prove(found, "Supabase")
        assert not [remark for remark in found.remarks if remark.off]
        (tmp_path / "imported.yaml").write_text(written(found, "Supabase"))
        daemon = setting.daemon({}, include="imported.yaml")
        daemon.env |= found.variables
        async with daemon:
            await setting.ask(WORK)
            asked = await setting.ask("SELECT url, body, headers FROM net.asked ORDER BY n")
            await setting.until("SELECT count(*) FROM cdcd.event_logs WHERE status = 'processed'", len(asked))
            assert await setting.ask("SELECT count(*) FROM cdcd.event_logs") == [(len(asked),)]
    assert len(asked) == 2 + 8 + 2 + 2  # told, every, paid, not_small
    for path in ("/told", "/every", "/paid", "/not_small"):
        wanted = [json.dumps(body, sort_keys=True) for url, body, _ in asked if url.endswith(path)]
        requests = [request for request in endpoint.requests if request.path == path]
        assert sorted(json.dumps(json.loads(request.body), sort_keys=True) for request in requests) == sorted(wanted), path
    (first, *_) = [request for request in endpoint.requests if request.path == "/every"]
    assert first.headers["Authorization"] == "Bearer key"
    assert first.query in ("kind=a b", "kind=a%20b")
