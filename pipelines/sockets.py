"""Sockets that keep one deadline for a whole request, and what it means when they fail.

The timeouts of the HTTP library count from each piece of an answer anew: one that drips, in its headers or its body,
would never end.
Not here: which deadline, and requests (client.py); what is repeated (traffic.py).
"""

import math
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import httpcore

from pipelines.errors import ApiError, ConfigurationError, EndpointError, TransientApiError, printable, system_words
from pipelines.traffic import Clock

_READ_BYTES = 2**18
"""Bytes taken from a socket at once, if they are there: the library asks for a quarter of it, and each piece costs."""


class Deadline(threading.local):
    """When the request that this thread is sending must be over, by the client's clock."""

    at: float = math.inf


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens sockets that wait for nothing beyond the deadline of the thread that uses them."""

    def __init__(self, deadline: Deadline, clock: Clock) -> None:
        self._deadline, self._clock = deadline, clock
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        stream = self._sockets.connect_tcp(host, port, self.left(timeout), local_address, socket_options)
        return _DeadlineStream(stream, self)

    def left(self, timeout: float | None) -> float | None:
        """The shorter of the timeout and what is left until the deadline."""
        seconds = min(math.inf if timeout is None else timeout, self._deadline.at - self._clock())
        if seconds <= 0:
            raise httpcore.ReadTimeout("deadline")
        return None if seconds == math.inf else seconds


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, backend: DeadlineBackend) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max(max_bytes, _READ_BYTES), self._backend.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._backend.left(timeout))
        return _DeadlineStream(stream, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def trust(context: ssl.SSLContext, ca_file: Path) -> None:
    """Take the authorities in the file for trustworthy, too; raises ConfigurationError."""
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # TLS errors are among them
        reason = "holds no certificate" if isinstance(error, ssl.SSLError) else system_words(error)
        raise ConfigurationError(f"VBS_CA_FILE cannot be used: {reason}; give a file of PEM certificates") from None


# --- when they fail --------------------------------------------------------------------------------------------------

_UNUSABLE_ADDRESS = {"UnsupportedProtocol", "LocalProtocolError", "InvalidURL"}
_NO_COMMON_TLS = {
    "HTTP_REQUEST",
    "NO_PROTOCOLS_AVAILABLE",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_SSL_VERSION",
    "WRONG_VERSION_NUMBER",
}


def connection_error(error: Exception, host: str) -> ApiError:
    """What an error of the HTTP library means. Its text may quote what was sent; its type and its cause say enough."""
    name = type(error).__name__
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    if name in _UNUSABLE_ADDRESS:
        return EndpointError(f"the request to {host} could not be made: {kind}", advice="check VBS_ENDPOINT")
    match _cause(error):
        case ssl.SSLCertVerificationError() as cause:
            return EndpointError(
                f"the certificate of {host} is not trusted: {printable(cause.verify_message)}",
                advice="check VBS_ENDPOINT and what stands between, or give the authority as VBS_CA_FILE; "
                "certificates are always verified",
            )
        case ssl.SSLError(reason=reason) if reason in _NO_COMMON_TLS:
            return EndpointError(
                f"{host} speaks no TLS that is safe to speak: {reason.replace('_', ' ').lower()}",
                advice="check VBS_ENDPOINT (https or http, host, port); TLS 1.2 or newer is needed",
            )
        case socket.gaierror():
            shared = "the name of the host is not known"
        case ConnectionRefusedError():
            shared = "connection refused"
        case ssl.SSLEOFError() if name == "ConnectError":
            shared = "the TLS handshake was cut off, as by a service that speaks nothing newer than TLS 1.1"
        case _:
            shared = ""
    return TransientApiError(
        f"no answer from {host}: {shared or kind}",
        advice="check VBS_ENDPOINT and the network",
        shared_cause=shared,
        is_overload=name == "ReadTimeout",
    )


def _cause(error: BaseException) -> BaseException:
    """What the operating system or the TLS library said first."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error
