"""The certificate that the server shows, read from its files, and again when they have changed."""

import ssl
from pathlib import Path

from cdcd.errors import ConfigError


class Certificate:
    """`context` is the same for the server's life: what was read last is shown to those who connect from then on."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises ConfigError."""
        self._cert = cert
        self._key = key
        self.context = self._read()

    def read(self) -> None:
        """Read the files again. Raises ConfigError, and then the context is as it was."""
        self._read()  # one that cannot be used would leave half of it in the context
        self.context.load_cert_chain(self._cert, self._key)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                [f"server.tls: the certificate {self._cert} with the key {self._key} cannot be used: {why}"]
            ) from error
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and there is nobody to ask for its password")
