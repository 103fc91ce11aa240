"""Certificates for the port, good and bad, from an authority that lives as long as the process.

Not here: the port (server.py), when it speaks TLS (faults/transport.py).
"""

import ssl
import warnings
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import trustme

Kind = Literal["valid", "unknown-authority", "self-signed", "wrong-name", "expired", "old-version"]

_HOST = "127.0.0.1"


def write_authority(path: str) -> None:
    """Writes the certificate, as PEM, that makes a client trust `valid` ones."""
    Path(path).write_bytes(_authority().cert_pem.bytes())


def server_context(kind: Kind) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind == "self-signed":
        # An authority's own certificate signs itself.
        lonely = trustme.CA()
        with lonely.private_key_pem.tempfile() as key, lonely.cert_pem.tempfile() as certificate:
            context.load_cert_chain(certificate, key)
        return context
    _certificate(kind).configure_cert(context)
    if kind == "old-version":
        _speak_old_versions_only(context)
    return context


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def _certificate(kind: Kind) -> trustme.LeafCert:
    authority = trustme.CA() if kind == "unknown-authority" else _authority()
    if kind == "expired":
        first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 12, 31, tzinfo=UTC)
        return authority.issue_cert(_HOST, not_before=first, not_after=last)
    return authority.issue_cert("other.example" if kind == "wrong-name" else _HOST)


def _speak_old_versions_only(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")  # without it the library refuses to speak them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
