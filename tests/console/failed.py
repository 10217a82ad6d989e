"""Deliveries that failed an hour ago, written to the store as the daemon would have: for pages that show or retry many.

    await failed(setting, 1000, trigger="dead", table="public.others")

Their keys and the ids of their rows are 1 to `count`, in the order of time, one a millisecond.
"""

from tests.acceptance.setting import Setting

_WRITE = """
INSERT INTO cdcd.event_logs (id, time, type, source, subject, trigger, key, payload, status, attempts, remark, settled_at)
SELECT (lpad(to_hex(at), 12, '0') || '8' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
       to_timestamp(at / 1000.0), 'DB_INSERT', 'cdcd/' || %s || '/main', %s || '/' || n, %s, n::text,
       json_build_object('find', json_build_object('id', n), 'doc', json_build_object('id', n, 'note', 'note ' || n)),
       'failed', 1, 'answered 503 Service Unavailable', now()
FROM (SELECT n, (extract(epoch FROM now()) * 1000)::bigint - 3600000 + n AS at FROM generate_series(1, %s) AS n) AS those
"""


async def failed(setting: Setting, count: int, *, trigger: str, table: str) -> None:
    """See the module."""
    await setting.ask(_WRITE, [setting.project, table, trigger, count])
