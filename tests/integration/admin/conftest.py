"""How long a page or a count may look is the machine's affair: here they are asked for what they find."""

import pytest

from cdcd.admin import deliveries


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGE_SECONDS", "COUNT_SECONDS"):
        monkeypatch.setattr(deliveries, name, 30.0)
