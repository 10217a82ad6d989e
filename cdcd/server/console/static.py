"""The console's own files: each has its content's hash in its name, so browsers keep it for ever and never show an old one.

Read and compressed once, when first asked for.
"""

import gzip
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cdcd.server.problems import Problem
from cdcd.server.replies import Reply
from cdcd.server.routes import Call

FOLDER = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"


@dataclass(slots=True)
class _File:
    kind: str
    whole: bytes
    packed: bytes = b""


class Static:
    """The handler of `/console/static/{name}`, and what a file is called there."""

    @cached_property
    def _read(self) -> tuple[dict[str, str], dict[str, _File]]:
        names: dict[str, str] = {}
        files: dict[str, _File] = {}
        for path in sorted(FOLDER.rglob("*")):
            kind = KINDS.get(path.suffix)
            if kind is not None:
                content = path.read_bytes()
                hashed = f"{path.stem}-{sha256(content).hexdigest()[:12]}{path.suffix}"
                names[path.name] = hashed
                files[hashed] = _File(kind, content)
        return names, files

    def url(self, name: str) -> str:
        """Where a file of ours is found."""
        return f"/console/static/{self._read[0][name]}"

    async def serve(self, call: Call) -> Reply:
        """`GET /console/static/{name}`."""
        file = self._read[1].get(call.parameters["name"])
        if file is None:
            raise Problem(404, "there is no such file")
        headers = {"Cache-Control": KEPT, "Vary": "Accept-Encoding"}
        if "gzip" not in call.request.headers.get("Accept-Encoding", ""):
            return Reply(200, file.whole, file.kind, headers)
        if not file.packed:
            file.packed = gzip.compress(file.whole, 6, mtime=0)
        return Reply(200, file.packed, file.kind, {**headers, "Content-Encoding": "gzip"})
