"""The certificate authorities that requests trust: the usual ones, those of the operators, and those of a request."""

import os
import re
import tempfile
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import certifi
from cryptography.x509 import Certificate, load_pem_x509_certificate

from explain.errors import ExplainedError

CA_FILE = "SEQPULSE_CA_FILE"
MOST_PEM_BYTES = 64 * 1024
# Lists of authorities, such as those of an operating system.
MOST_FILE_BYTES = 4 * 1024 * 1024

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})

# Closed, they would be gone.
_combined_files: list[Any] = []


class CertificateError(ExplainedError, ValueError):
    """A text that is no list of certificates in PEM."""

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code, field="ca_pem", **params)


def check_ca_pem(text: str, now: datetime | None = None) -> str:
    """Return the certificates of a configuration in PEM, without what stands between them; "" for an empty text.

    now: a time in UTC; the present unless given.

    Raises: CertificateError, also if every certificate has expired. Beside a valid one, an expired one does no harm.
    """
    if not text.strip():
        return ""
    certificates = _certificates(text)
    number, last = max(enumerate(certificates, start=1), key=lambda one: one[1][1].not_valid_after_utc)
    until = last[1].not_valid_after_utc
    if until < (now or datetime.now(UTC)):
        subject = last[1].subject.rfc4514_string()[:100]
        raise CertificateError("ca_expired", n=number, subject=subject, date=until.date().isoformat())
    return "".join(f"{pem}\n" for pem, _ in certificates)


@lru_cache(maxsize=1024)
def trusted_pem(text: str) -> bytes:
    """Return the certificates of a request for libcurl, expired ones, too. Raises CertificateError."""
    return "".join(f"{pem}\n" for pem, _ in _certificates(text)).encode()


def ca_file() -> str:
    """Return the file with the authorities that every request trusts: the usual ones and those of SEQPULSE_CA_FILE.

    Raises: ValueError for a file that cannot be read, which the system checks report at the start.
    """
    usual = os.environ.get("SSL_CERT_FILE") or certifi.where()
    own = os.environ.get(CA_FILE, "").strip()
    return _combined(usual, own) if own else usual


def read_ca_file(path: str) -> str:
    """Return the certificates of a file. Raises ValueError that says what is wrong with it."""
    try:
        return "".join(f"{pem}\n" for pem, _ in _certificates(_read(path), MOST_FILE_BYTES))
    except CertificateError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="latin-1") as file:
            return file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None


@lru_cache(maxsize=8)
def _combined(usual: str, own: str) -> str:
    """Return a file with the certificates of both. libcurl takes one file, which it may read again after a day."""
    content = _read(usual) + "\n" + read_ca_file(own)
    if hasattr(os, "memfd_create"):  # no program that tidies up temporary files deletes it
        descriptor = os.memfd_create("authorities")
        file: Any = os.fdopen(descriptor, "w", encoding="latin-1")
        path = f"/proc/self/fd/{descriptor}"
    else:
        file = tempfile.NamedTemporaryFile("w", prefix="seqpulse-ca-", suffix=".pem", encoding="latin-1")  # noqa: SIM115
        path = file.name
    file.write(content)
    file.flush()
    _combined_files.append(file)
    return path


@lru_cache(maxsize=1024)
def _certificates(text: str, most_bytes: int = MOST_PEM_BYTES) -> list[tuple[str, Certificate]]:
    """Return the certificates in PEM and parsed, at least one. Raises CertificateError."""
    if len(text) > most_bytes:
        raise CertificateError("ca_too_long", bytes=most_bytes)
    if "PRIVATE KEY-----" in text:
        raise CertificateError("ca_private_key")
    found: list[tuple[str, Certificate]] = []
    for block in _BLOCK.finditer(text):
        if block[1] not in _LABELS:
            raise CertificateError("ca_other_block", label=block[1])
        body = "\n".join(block[2].split())
        pem = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----"
        try:
            certificate = load_pem_x509_certificate(pem.encode())
            _ = certificate.not_valid_after_utc, certificate.subject.rfc4514_string()
        except ValueError:
            raise CertificateError("ca_broken", n=len(found) + 1) from None
        found.append((pem, certificate))
    if not found:
        raise CertificateError("ca_missing")
    return found
