"""Which pages may call the API."""

import pytest
from multidict import CIMultiDict

from cdcd.server.cors import Cors

SHOP = "https://shop.example.com"
ASKING = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,ce-id"}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), SHOP, None),
        ((SHOP,), SHOP, SHOP),
        ((SHOP,), SHOP + ".evil.com", None),
        (("*",), "null", "*"),
        ((SHOP,), None, None),
    ],
)
def test_origins(origins: tuple[str, ...], origin: str | None, allowed: str | None) -> None:
    asked = CIMultiDict({"origin": origin} if origin else {})
    assert Cors(origins).headers(asked).get("Access-Control-Allow-Origin") == allowed
    found = Cors(origins).preflight("OPTIONS", CIMultiDict({**asked, **ASKING}))
    assert (found is not None) is (allowed is not None)
    if found is not None:
        assert found["Access-Control-Allow-Headers"] == "authorization,ce-id"


def test_what_is_no_preflight() -> None:
    asked = CIMultiDict({"Origin": SHOP})
    assert Cors((SHOP,)).preflight("OPTIONS", asked) is None
    assert Cors((SHOP,)).preflight("POST", CIMultiDict({**asked, **ASKING})) is None


def test_names_of_headers_are_no_way_into_the_answer() -> None:
    asked = CIMultiDict({"Origin": SHOP, **ASKING, "Access-Control-Request-Headers": "a: b"})
    found = Cors((SHOP,)).preflight("OPTIONS", asked)
    assert found is not None
    assert found["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
