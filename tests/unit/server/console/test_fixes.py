"""What mends something: which of it is code, and which of that is to be copied; nothing of it is markup."""

import pytest

from cdcd.server.console.fixes import Piece, backticked, pieces


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing", "nothing"),
        ("see `cdcd status`; then `cdcd setup`", "see <code>cdcd status</code>; then <code>cdcd setup</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("one ` alone <b>", "one ` alone &lt;b&gt;"),
        ("", ""),
    ],
)
def test_backticks(text: str, shown: str) -> None:
    assert str(backticked(text)) == shown


@pytest.mark.parametrize(
    ("fix", "found"),
    [
        ("correct the webhook's url, or the DNS", [Piece(False, "correct the webhook's url, or the DNS")]),
        ("ALTER TABLE a REPLICA IDENTITY FULL;", [Piece(True, "ALTER TABLE a REPLICA IDENTITY FULL;")]),
        ("SELECT pg_reload_conf();", [Piece(True, "SELECT pg_reload_conf();")]),
        (
            "as the owner:\nCREATE PUBLICATION x FOR TABLE a;\nALTER PUBLICATION y ADD TABLE b;\n-- or: `cdcd setup`",
            [
                Piece(False, "as the owner:"),
                Piece(True, "CREATE PUBLICATION x FOR TABLE a;\nALTER PUBLICATION y ADD TABLE b;\n-- or: `cdcd setup`"),
            ],
        ),
        (
            "see on its server what it waits for: SELECT * FROM pg_stat_activity",
            [Piece(False, "see on its server what it waits for:"), Piece(True, "SELECT * FROM pg_stat_activity")],
        ),
        (
            "as a superuser: `GRANT rds_replication TO cdcd;`",
            [Piece(False, "as a superuser:"), Piece(True, "GRANT rds_replication TO cdcd;")],
        ),
        ("ALTER SYSTEM SET x = 1;  -- then restart\nor, if nobody needs it: SELECT pg_drop_replication_slot('a');", 3),
        ("see the docs: `cdcd status` says what holds it", [Piece(False, "see the docs: `cdcd status` says what holds it")]),
        ("mkdir -p /srv/a", [Piece(True, "mkdir -p /srv/a")]),
        ("set both by NTP", [Piece(False, "set both by NTP")]),
        ("Select what you like", [Piece(False, "Select what you like")]),
        ("", []),
        ("\n\n", []),
    ],
)
def test_pieces(fix: str, found: list[Piece] | int) -> None:
    assert len(pieces(fix)) == found if isinstance(found, int) else list(pieces(fix)) == found
