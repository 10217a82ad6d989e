"""Why an attempt got no answer, in words: the one place where aiohttp's, OpenSSL's and the system's errors are translated."""

import asyncio
import errno
import os
import socket
import ssl

import aiohttp

FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError, RuntimeError)
"""What a request can raise. ValueError: a URL or header that cannot be sent; RuntimeError: uvloop, for a socket that broke."""

CONNECTING_SHARE = 0.9
"""Share of a trigger's timeout in which the connection must stand, so that one that never does can be told from a slow answer."""

_CERTIFICATE = {
    9: "TLS certificate is not valid yet",
    10: "TLS certificate expired",
    18: "TLS certificate is self-signed: name it in ca",
    19: "TLS certificate chain ends in an authority that is not trusted: name it in ca",
    20: "TLS certificate is from an authority that is not trusted: name it in ca",
    62: "TLS certificate is for another host",
    64: "TLS certificate is for another address",
}
"""By X509_V_ERR_* of OpenSSL's x509_vfy.h."""

_CONNECTING = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset while connecting",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "no connection: the system's time limit passed",
    errno.EMFILE: "no connection: too many open files (raise LimitNOFILE)",
    errno.ENFILE: "no connection: too many open files in the system",
    errno.EADDRNOTAVAIL: "no connection: no local port left for this endpoint",
}

_CLOSED = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN, errno.EBADF})


def is_closed_by_peer(error: BaseException) -> bool:
    """Whether the connection turned out closed before a byte of the answer came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # otherwise it holds the part of the head that came
    if isinstance(error, aiohttp.ClientConnectorError):
        return False
    return isinstance(error, ConnectionError) or (isinstance(error, aiohttp.ClientOSError) and error.errno in _CLOSED)


def words(error: BaseException, timeout: float) -> str:
    """What went wrong. `timeout` is the trigger's, in seconds."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {timeout * CONNECTING_SHARE:g} s"
        case asyncio.TimeoutError():
            return f"no answer within {timeout:g} s"
        case aiohttp.ClientConnectorDNSError():
            return _dns(error)
        case aiohttp.ClientConnectorCertificateError():
            return _certificate(error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return f"TLS handshake failed: {_tls_reason(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return _connecting(error.os_error)
        case aiohttp.ServerDisconnectedError():
            where = "before an answer" if isinstance(error.message, str) else "in the middle of the answer's head"
            return f"connection closed {where}"
        case aiohttp.ClientResponseError():
            return f"not an HTTP answer: {' '.join(error.message.split())[:200]}"
        case aiohttp.InvalidURL():
            return "the URL cannot be dialled"
        case ssl.SSLError():
            return f"TLS failed: {_tls_reason(error)}"
        case OSError():
            return "connection reset before an answer" if error.errno in _CLOSED else f"connection broke: {_system(error)}"
        case _:
            return f"the request could not be sent: {' '.join(str(error).split())[:200] or type(error).__name__}"


def _dns(error: aiohttp.ClientConnectorDNSError) -> str:
    cause = error.os_error
    inner = cause.__cause__ if cause.__cause__ is not None else cause
    if isinstance(inner, socket.gaierror) and inner.errno not in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
        return f"DNS: {inner.strerror or inner} ({error.host})"
    return f"DNS: no address for {error.host}"


def _certificate(error: Exception) -> str:
    code = getattr(error, "verify_code", None)
    reason = getattr(error, "verify_message", "") or str(error)
    return _CERTIFICATE.get(code, f"TLS certificate refused: {reason}") if code else f"TLS certificate refused: {reason}"


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).replace("_", " ").lower()


def _connecting(error: OSError) -> str:
    if error.errno in _CONNECTING:
        return _CONNECTING[error.errno]
    return f"no connection: {_system(error)}"


def _system(error: OSError) -> str:
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
