"""One Postgres server in one directory: made, started, stopped, crashed, and started again.

The directory belongs to the server alone:

    lock            held (flock) by the process that runs the server, so two never share one
    data/           the cluster, made as data.new and renamed, so that it is never half there
    password        of the role `postgres`, for TCP (0600)
    postgres.log    what the server says
    .s.PGSQL.N      the unix socket, reachable only through this 0700 directory: `trust` is the owner's alone

The server is started in a session of its own, so Ctrl-C in a terminal reaches cdcd and not the server. When the process that
started it is killed with -9 the server goes on, harmlessly; whoever starts it next stops it first (fast shutdown) and starts
it anew with its own settings. It is never adopted: a child can be watched, and a stranger cannot.

Ready means that line 8 of `postmaster.pid` says so (pg_ctl's own test; src/include/utils/pidfile.h).
Everything here blocks; `cdcd.embedded.service` gives it to the event loop.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from cdcd.embedded.unprivileged import account_for, place_binaries, place_data
from cdcd.errors import PermanentError

log = structlog.get_logger()

SOCKET_PATH_LIMIT = 103  # bytes of sun_path that every platform has (Linux 107, macOS 103)
LOG_LIMIT = 8 * 1024 * 1024  # a longer log is put aside at the next start
POLL = 0.01
SETTINGS = {
    "wal_level": "logical",
    "unix_socket_permissions": "0700",
    "log_checkpoints": "off",  # nobody reads them here, and the log is not rotated while the server runs
    "jit": "off",
}

NAMELESS = (
    "PostgreSQL wants a name for the user that runs it: give it an entry in /etc/passwd (with systemd's DynamicUser: install "
    "libnss-systemd), or name a database in eventing.database"
)


class PostgresServer:
    """A Postgres server in `directory`.

    `binaries` is an installation's prefix (it holds `bin/postgres`). `port` None: unix socket only; a number: also TCP on
    127.0.0.1 with a password; 0: a free port, kept for the life of this object. `settings` override `SETTINGS`.
    As root see `cdcd.embedded.unprivileged`. Raises PermanentError when the server cannot be made or started, with its last words.
    """

    def __init__(
        self,
        directory: Path,
        binaries: Path,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        start_timeout: float = 120.0,
    ) -> None:
        self.asked = directory
        self.port = port
        self._prefix = binaries
        self._settings = {**SETTINGS, **(settings or {})}
        self._start_timeout = start_timeout
        self._account = account_for(directory)
        self._directory: Path | None = None
        self._socket: Path | None = None
        self._lock: int | None = None
        self.process: subprocess.Popen[bytes] | None = None

    # Where things are

    @property
    def directory(self) -> Path:
        """Where the server really lives; made on first use."""
        if self._directory is None:
            self._directory = place_data(self.asked, self._account)
        return self._directory

    @property
    def data(self) -> Path:
        """The cluster itself (PGDATA)."""
        return self.directory / "data"

    @property
    def socket_directory(self) -> Path:
        """Where the unix socket is: the server's directory, or a short one when that path is too long for a socket."""
        if self._socket is None:
            self._socket = self._find_socket_directory()
        return self._socket

    def _find_socket_directory(self) -> Path:
        if len(os.fsencode(self.directory / ".s.PGSQL.65535.lock")) <= SOCKET_PATH_LIMIT:
            return self.directory
        uid = self._account.uid if self._account else os.geteuid()
        short = Path(tempfile.gettempdir()) / f"cdcd-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}"
        with contextlib.suppress(FileExistsError):
            short.mkdir(mode=0o700)
            self._give(short)
        status = short.lstat()
        if status.st_uid != uid or status.st_mode & 0o7777 != 0o700 or short.is_symlink():  # somebody else's
            short = Path(tempfile.mkdtemp(prefix="cdcd-"))
            self._give(short)
        return short

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    @property
    def password(self) -> str:
        """Of the role `postgres`; asked for over TCP only."""
        return (self.directory / "password").read_text()

    def dsn(self, dbname: str = "postgres", *, tcp: bool = False) -> str:
        """A connection URL: over the unix socket (only the owner and root get there), or over TCP with the password."""
        if tcp:
            if not self.port:
                raise ValueError("this server was not asked to listen on TCP")
            return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://postgres@/{quote(dbname, safe='')}?host={host}&port={self.port or 5432}"

    @property
    def bin(self) -> Path:
        """The directory of the programs (`psql`, `pgbench` where the installation has them)."""
        return place_binaries(self._prefix, self._account) / "bin"

    # Life

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Return when the server takes connections. Makes the cluster first when there is none. A second call does nothing."""
        if self.running:
            return
        self._acquire()
        try:
            self._stop_leftover()
            if not self.data.exists():
                self._init()
            if self.port == 0:
                self.port = _free_port()
            deadline = time.monotonic() + self._start_timeout
            while not self._launch(deadline):
                time.sleep(0.2)
        except BaseException:
            self._end(signal.SIGQUIT, 10.0)
            self._release()
            raise
        assert self.process is not None
        log.info("postgres.started", directory=str(self.directory), pid=self.process.pid, port=self.port)

    def stop(self, *, immediate: bool = False, timeout: float = 30.0) -> None:
        """Fast shutdown (SIGINT): sessions end, all is written. SIGQUIT after `timeout` seconds, or at once if `immediate`."""
        was_running = self.running
        if not immediate:
            self._end(signal.SIGINT, timeout)
        self._end(signal.SIGQUIT, 10.0)
        self._end(signal.SIGKILL, 10.0)
        self.process = None
        if self._socket is not None and self._socket != self._directory:
            with contextlib.suppress(OSError):
                self._socket.rmdir()
            self._socket = None
        self._release()
        if was_running:
            log.info("postgres.stopped", directory=str(self.directory))

    def crash(self) -> None:
        """End at once without writing anything (SIGQUIT, "immediate shutdown"): the next start has to recover from WAL."""
        self._end(signal.SIGQUIT, 10.0)
        self._end(signal.SIGKILL, 10.0)

    def restart(self, *, crash: bool = False) -> None:
        """Stop and start again, on the same socket and port."""
        if crash:
            self.crash()
        else:
            self._end(signal.SIGINT, 30.0)
            self.crash()
        self.start()

    def remove(self) -> None:
        """Stop the server, also one left over by a killed process, and delete everything of it. Not undone."""
        self.stop(immediate=True)
        if not self.asked.exists():
            return
        self._acquire()
        try:
            self._stop_leftover()
            shutil.rmtree(self.directory)
        finally:
            self._release()
        if self.asked.is_symlink():
            self.asked.unlink()
        self._directory = None

    # Steps

    def _acquire(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(lock, 32).decode(errors="replace") or "?"
            os.close(lock)
            raise PermanentError(
                f"another process (pid {holder}) runs the Postgres server in {self.directory}",
                hint="stop that one first, or give this one another directory",
            ) from exc
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _init(self) -> None:
        """initdb into data.new, then rename: a cluster is there whole or not at all."""
        making = self.directory / "data.new"
        shutil.rmtree(making, ignore_errors=True)
        secret = self.directory / "password"
        secret.unlink(missing_ok=True)
        with os.fdopen(self._create(secret, os.O_WRONLY | os.O_EXCL), "w") as output:
            output.write(secrets.token_urlsafe(18))
        command = [str(self.bin / "initdb"), "-D", str(making), "-U", "postgres", f"--pwfile={secret}"]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        if self._settings.get("fsync") == "off":
            command.append("--no-sync")
        with self._open_log() as words:
            result = self._popen(command, words).wait()
        if result != 0:
            words_said = self._last_words()
            hint = NAMELESS if "could not look up effective user ID" in words_said else self._log_hint
            raise PermanentError(f"initdb failed in {self.directory}: {words_said}", hint=hint)
        making.rename(self.data)

    def _launch(self, deadline: float) -> bool:
        """One try. False when the remains of a killed server are still in the way, which passes."""
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or 5432),
            "unix_socket_directories": str(self.socket_directory),
        }
        command = [str(self.bin / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._open_log() as output:
            begun = output.tell()
            self.process = self._popen(command, output)
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                words = self._last_words(begun)
                if "shared memory block" in words and "still in use" in words:
                    return False
                raise PermanentError(f"Postgres did not start in {self.directory}: {words}", hint=self._log_hint)
            lines = self._pidfile()
            if len(lines) >= 8 and lines[0].strip() == str(self.process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(POLL)
        raise PermanentError(f"Postgres in {self.directory} was not ready in time: {self._last_words()}", hint=self._log_hint)

    def _popen(self, command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment["LC_ALL"] = "C"
        try:
            return subprocess.Popen(  # noqa: S603 -- programs of the installation, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,  # initdb wants a current directory that it can read
                env=environment,
                umask=0o077,
                start_new_session=True,
                **(self._account.popen() if self._account else {}),
            )
        except OSError as exc:
            who = f" as the user {self._account.name}" if self._account else ""
            raise PermanentError(
                f"cannot run {command[0]}{who}: {exc}", hint="set eventing.database to a Postgres server of your own"
            ) from exc

    def _end(self, how: signal.Signals, timeout: float) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)

    def _stop_leftover(self) -> None:
        """Stop a server whose starter was killed, and forget a pid file that outlived its server."""
        lines = self._pidfile()
        if not lines:
            return
        pid = abs(int(lines[0]))
        if not self._is_server(pid):
            # The pid may by now be some innocent process, and Postgres would refuse to start because of it. We hold the lock.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        log.warning("postgres.leftover_stopped", directory=str(self.directory), pid=pid)
        for how, timeout in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                if not self._is_server(pid):
                    return
                time.sleep(POLL)
        raise PermanentError(f"the Postgres server {pid} in {self.directory} cannot be stopped", hint=f"kill -9 {pid}")

    def _is_server(self, pid: int) -> bool:
        """Whether process `pid` is the postmaster of this cluster: the postmaster's working directory is its data directory."""
        if Path("/proc/self/cwd").exists():
            try:
                return Path(f"/proc/{pid}/cwd").readlink() == self.data
            except OSError:
                return False
        command = ["/bin/ps", "-p", str(pid), "-o", "command="]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- fixed program, no shell
        return str(self.data) in shown.stdout

    def _pidfile(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    @property
    def log_file(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def _log_hint(self) -> str:
        return f"read {self.log_file}"

    def _open_log(self) -> IO[bytes]:
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT:
            self.log_file.rename(self.log_file.with_suffix(".log.1"))
        return os.fdopen(self._create(self.log_file, os.O_WRONLY | os.O_APPEND), "ab")

    def _create(self, path: Path, flags: int) -> int:
        """Open a file of the server's owner. As root in a directory of somebody else: never through a link that they made."""
        file = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if self._account:
            os.fchown(file, self._account.uid, self._account.gid)
        return file

    def _last_words(self, begun: int = 0) -> str:
        with self.log_file.open("rb") as output:
            output.seek(max(begun, self.log_file.stat().st_size - 2000))
            lines = output.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-6:]) or "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
