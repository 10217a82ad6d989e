"""Which addresses may be dialled: checked on the very address that the socket is about to connect to.

A check of the URL or of the resolver's answer can be got round by a literal address, a second resolution (rebinding) or an
IPv4 address inside an IPv6 one. aiohttp asks the `socket_factory` for each address it dials, so this is the one place that
sees them all. Link-local and metadata addresses are refused in every mode, `allow` or not.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from cdcd.config.model import Egress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""What `getaddrinfo` gives and aiohttp dials: family, type, protocol, canonical name, socket address."""


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


ALWAYS_REFUSED = _networks(
    "169.254.0.0/16",  # link-local (RFC 3927); the metadata service of nearly every cloud
    "fe80::/10",  # link-local (RFC 4291)
    "fd00:ec2::254/128",  # metadata, AWS
    "fd20:ce::254/128",  # metadata, Google
    "100.100.100.200/32",  # metadata, Alibaba
    "168.63.129.16/32",  # platform services, Azure
    "192.0.0.192/32",  # metadata, Oracle
)

NOT_PUBLIC = _networks(
    # What `is_global` calls global in Python 3.11 (and, for some, later), though it is not, or leads to what is not.
    "0.0.0.0/8",
    "192.0.0.0/24",
    "192.88.99.0/24",  # 6to4 relays, RFC 7526
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",  # IPv4-compatible
    "64:ff9b::/96",  # NAT64 (RFC 6052): any IPv4 address, private ones too
    "64:ff9b:1::/48",  # local NAT64, RFC 8215
    "100::/64",  # discard
    "2001::/23",  # Teredo and other protocol assignments
    "2002::/16",  # 6to4: any IPv4 address
    "3fff::/20",  # documentation, RFC 9637
    "5f00::/16",  # SRv6, RFC 9602
    "fec0::/10",  # site-local
    "ff00::/8",
)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def _faces(address: Address) -> Iterable[Address]:
    """`address` and the IPv4 address it carries inside, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    inner = address.sixtofour
    if inner is None and (address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF)):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return (address,) if inner is None else (address, inner)


@dataclass(slots=True)
class Dial:
    """What was dialled during one attempt: whether a connection was opened for it, and the last refusal."""

    dialled: bool = False
    refused: str = ""


current_dial: ContextVar[Dial | None] = ContextVar("current_dial", default=None)
"""The attempt under way in this task; a task that dials on its behalf inherits it."""


class Guard:
    """A `socket_factory` for aiohttp's TCPConnector that refuses addresses by policy."""

    def __init__(self, egress: Egress, allow: tuple[str, ...] = ()) -> None:
        """`allow`: CIDRs exempt from `egress: public`. Raises ValueError for one that is none."""
        self._public_only = egress is Egress.PUBLIC
        self._allow = tuple(ipaddress.ip_network(text, strict=False) for text in allow)

    def refusal(self, text: str) -> str:
        """Why the address `text` may not be dialled; empty when it may."""
        faces = tuple(_faces(ipaddress.ip_address(text)))
        if any(face in network for face in faces for network in ALWAYS_REFUSED):
            return f"refused to connect to {text}: link-local and metadata addresses are never dialled"
        if not self._public_only or any(faces[0] in network for network in self._allow):
            return ""
        if all(face.is_global and not any(face in network for network in NOT_PUBLIC) for face in faces):
            return ""
        return f"refused to connect to {text}: egress is public and this address is not (add it to allow)"

    def __call__(self, addr_info: AddrInfo) -> socket.socket:
        """A socket for `addr_info`; raises PermissionError (EACCES) when its address is refused."""
        family, kind, protocol, _, address = addr_info
        dial = current_dial.get()
        refused = self.refusal(address[0])
        if refused:
            if dial is not None:
                dial.refused = refused
            raise PermissionError(errno.EACCES, refused)
        if dial is not None:
            dial.dialled = True
        return socket.socket(family, kind, protocol)
