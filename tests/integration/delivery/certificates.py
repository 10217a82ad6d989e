"""Certificates for tests, made by the `openssl` command: good, self-signed, expired, for another host, for a client."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

_CONFIG = """
[ca]
default_ca = test
[test]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[here]
subjectAltName = IP:127.0.0.1
authorityKeyIdentifier = keyid
[elsewhere]
subjectAltName = IP:192.0.2.1
authorityKeyIdentifier = keyid
"""


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command")
        self._folder = folder
        (folder / "index.txt").touch()
        (folder / "serial").write_text("01")
        (folder / "ca.cnf").write_text(_CONFIG.format(folder=folder))
        self.certificate = folder / "authority.pem"
        self._request("authority")
        self._run(
            *("ca", "-selfsign", "-keyfile", folder / "authority.key", "-extensions", "authority"),
            *("-in", folder / "authority.csr", "-out", self.certificate, "-days", "2"),
        )

    def issue(self, name: str, extensions: str = "here", start: str = "", end: str = "") -> tuple[Path, Path]:
        """A certificate and its key. `start` and `end` as YYMMDDHHMMSSZ."""
        self._request(name)
        times = ("-startdate", start, "-enddate", end) if start else ("-days", "2")
        self._run(
            *("ca", "-keyfile", self._folder / "authority.key", "-cert", self.certificate, "-extensions", extensions),
            *("-in", self._folder / f"{name}.csr", "-out", self._folder / f"{name}.pem", *times),
        )
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def _request(self, name: str) -> None:
        self._run(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", self._folder / f"{name}.key", "-out", self._folder / f"{name}.csr"),
        )

    def _run(self, command: str, *arguments: str | Path) -> None:
        batch = ("-batch", "-notext", "-config", self._folder / "ca.cnf") if command == "ca" else ()
        done = subprocess.run(["openssl", command, *batch, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def server(certificate: tuple[Path, Path], clients: Path | None = None) -> ssl.SSLContext:
    """What an endpoint serves with; `clients` is the authority whose client certificates it demands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
