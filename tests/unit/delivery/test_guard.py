"""Which addresses may be dialled, in every notation an address can hide in."""

import errno
import socket

import pytest

from cdcd.config.model import Egress
from cdcd.delivery.guard import Dial, Guard, current_dial

ALWAYS = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%lo",
    "febf::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
]
NOT_PUBLIC = [
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.0.0.9",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "3fff::1",
    "5f00::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", ALWAYS)
def test_link_local_and_metadata_are_refused_in_every_mode_even_when_allowed(address: str) -> None:
    for guard in (Guard(Egress.PRIVATE), Guard(Egress.PUBLIC), Guard(Egress.PUBLIC, ("0.0.0.0/0", "::/0"))):
        assert "never dialled" in guard.refusal(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_private_is_the_default_and_public_refuses_it(address: str) -> None:
    assert Guard(Egress.PRIVATE).refusal(address) == ""
    assert "egress is public" in Guard(Egress.PUBLIC).refusal(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert Guard(Egress.PRIVATE).refusal(address) == ""
    assert Guard(Egress.PUBLIC).refusal(address) == ""


def test_allowed_networks_are_exempt() -> None:
    guard = Guard(Egress.PUBLIC, ("10.0.0.0/8", "fd00::/8"))
    assert guard.refusal("10.1.2.3") == ""
    assert guard.refusal("::ffff:10.1.2.3") == ""
    assert guard.refusal("fd12::1") == ""
    assert guard.refusal("192.168.1.1") != ""


def test_the_socket_factory_refuses_with_eacces_and_notes_it() -> None:
    dial = Dial()
    token = current_dial.set(dial)
    try:
        with pytest.raises(PermissionError) as refused:
            Guard(Egress.PRIVATE)((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80)))
        assert refused.value.errno == errno.EACCES
        assert "169.254.169.254" in dial.refused
        assert not dial.dialled
        Guard(Egress.PRIVATE)((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()
        assert dial.dialled
    finally:
        current_dial.reset(token)
