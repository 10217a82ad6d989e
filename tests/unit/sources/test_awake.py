"""When a source is awake, and when it sleeps."""

from cdcd.sources.awake import CROWD, QUIET, WITHIN, Awake


def test_awake_where_changes_come_in_quick_succession_and_asleep_when_nothing_has_come_for_a_while() -> None:
    awake = Awake()
    for number in range(CROWD * 2):
        awake.found(number * WITHIN)
        assert not awake.crowded(number * WITHIN)
    now = 100.0
    for _ in range(CROWD):
        assert not awake.crowded(now)
        awake.found(now := now + 0.01)
    assert awake.crowded(now)
    assert not awake.quiet(now)
    awake.held = True
    assert not awake.crowded(now)
    assert not awake.quiet(now + QUIET / 2)
    awake.found(now := now + QUIET / 2)
    assert not awake.quiet(now + QUIET * 0.9)
    assert awake.quiet(now + QUIET)
