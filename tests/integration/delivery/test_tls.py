"""HTTPS endpoints: verified always, by the system's authorities or by the trigger's own; every failure in words."""

import asyncio
from pathlib import Path

import pytest

from cdcd.config.model import Webhook
from cdcd.errors import ConfigError
from tests.integration.delivery.certificates import Authority, server
from tests.integration.delivery.endpoints import Endpoint, delivery, endpoint, sender, trigger
from tests.integration.delivery.test_sender import answering


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_the_triggers_own_authority_is_trusted(authority: Authority) -> None:
    context = server(authority.issue("good"))
    async with endpoint(answering, context) as here:
        hook = trigger(here.origin, Webhook("", "", ca=authority.certificate))
        async with sender(hook) as part:
            for number in (1, 2):
                assert (await part.send(delivery(number), hook)).status == 200
            assert here.connections == 1


async def test_what_the_system_does_not_trust_is_refused_in_words(authority: Authority) -> None:
    context = server(authority.issue("unknown"))
    async with endpoint(answering, context) as here, sender(hook := trigger(here.origin)) as part:
        attempt = await part.send(delivery(), hook)
        assert attempt.error == "TLS certificate is from an authority that is not trusted: name it in ca"
        assert (attempt.status, attempt.refused) == (0, False)
        assert here.requests == []


async def test_self_signed(authority: Authority, tmp_path: Path) -> None:
    alone = Authority(tmp_path)
    context = server((alone.certificate, tmp_path / "authority.key"))
    async with endpoint(answering, context) as here, sender(hook := trigger(here.origin)) as part:
        error = (await part.send(delivery(), hook)).error
        assert error == "TLS certificate is self-signed: name it in ca"


@pytest.mark.parametrize(
    ("name", "extensions", "start", "end", "error"),
    [
        ("expired", "here", "200101000000Z", "200102000000Z", "TLS certificate expired"),
        ("early", "here", "480101000000Z", "490101000000Z", "TLS certificate is not valid yet"),
        ("elsewhere", "elsewhere", "", "", "TLS certificate is for another address"),
    ],
)
async def test_certificates_that_do_not_hold(
    authority: Authority, name: str, extensions: str, start: str, end: str, error: str
) -> None:
    context = server(authority.issue(name, extensions, start, end))
    async with endpoint(answering, context) as here:
        hook = trigger(here.origin, Webhook("", "", ca=authority.certificate))
        async with sender(hook) as part:
            assert (await part.send(delivery(), hook)).error == error
            assert here.requests == []


async def test_a_client_certificate_is_shown_and_its_absence_is_a_failure(authority: Authority) -> None:
    certificate, key = authority.issue("client")
    context = server(authority.issue("demanding"), clients=authority.certificate)
    async with endpoint(answering, context) as here:
        with_it = trigger(
            here.origin, Webhook("", "", ca=authority.certificate, client_cert=certificate, client_key=key), name="a"
        )
        without = trigger(here.origin, Webhook("", "", ca=authority.certificate), name="b")
        async with sender(with_it, without) as part:
            assert (await part.send(delivery(1, "a"), with_it)).status == 200
            attempt = await part.send(delivery(1, "b"), without)
            assert attempt.status == 0
            assert "connection" in attempt.error or "TLS" in attempt.error, attempt.error


async def test_plain_http_behind_https() -> None:
    async def plain(here: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with endpoint(plain) as here:
        hook = trigger(here.origin.replace("http:", "https:"))
        async with sender(hook) as part:
            error = (await part.send(delivery(), hook)).error
            assert error.startswith("TLS handshake failed: ")


async def test_files_that_cannot_be_used_stop_the_start_all_at_once(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    one = trigger("https://a.invalid", Webhook("", "", ca=tmp_path / "missing.pem"), name="a")
    two = trigger("https://b.invalid", Webhook("", "", ca=rubbish), name="b")
    three = trigger("https://c.invalid", Webhook("", "", client_cert=rubbish), name="c")
    with pytest.raises(ConfigError) as refused:
        async with sender(one, two, three):
            pass
    assert len(refused.value.mistakes) == 3
    for mistake, option in zip(
        refused.value.mistakes, ("a: webhook.ca", "b: webhook.ca", "c: webhook.client_cert"), strict=True
    ):
        assert option in mistake
