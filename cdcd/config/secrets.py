"""Keys that sign: what a secret's text means in bytes.

`whsec_` and base64 of 24 to 64 bytes is Standard Webhooks' form (specification 1.0, "Signature scheme"); any other text is used
as its UTF-8 bytes.
"""

import base64
import binascii
from hashlib import sha256

from cdcd.config.model import Secret

SHORTEST, ADVISED, LONGEST = 16, 24, 64  # bytes
SAFE = 32  # bytes, where others than this machine can reach what the secret protects
_MAKE = "make one with: echo whsec_$(openssl rand -base64 32)"


def secret_key(value: str, kid: str | None = None) -> Secret:
    """The key. Raises ValueError, without the value in its message."""
    if value.startswith("whsec_"):
        try:
            key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = b""
        if not ADVISED <= len(key) <= LONGEST:
            raise ValueError(f"whsec_ must be followed by base64 of {ADVISED} to {LONGEST} bytes; {_MAKE}")
    else:
        key = value.encode()
        if len(key) < SHORTEST:
            raise ValueError(f"must have at least {SHORTEST} bytes; {_MAKE}")
    return Secret(key, kid or sha256(value.encode()).hexdigest()[:16])
