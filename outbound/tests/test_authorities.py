"""Certificate authorities: of a request, of the operators, and what is said of those that cannot be used."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from outbound import wire
from outbound.authorities import CertificateError, check_ca_pem
from outbound.fetcher import Fetcher
from outbound.session import call
from outbound.tests.servers import LOCAL, OK, Server, failure, play, says, serving
from outbound.transfer import OutboundError


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
    return context


OURS, USUAL, OTHER = trustme.CA(), trustme.CA(), trustme.CA()
ISSUED = server_side(OURS)


@pytest.fixture(autouse=True)
def _usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    USUAL.cert_pem.write_to_path(str(tmp_path / "usual.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "usual.pem"))
    monkeypatch.delenv("SEQPULSE_CA_FILE", raising=False)


async def once(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close: the next one may only resume the TLS session."""
    if b"Content-Length" in await server.request(reader):
        await reader.readexactly(1)
    writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


@pytest.mark.parametrize("answer", [says(OK).answer, once])
def test_authorities_are_trusted_for_their_own_requests_alone(answer: Any) -> None:
    async def scenario(s: Server, f: Fetcher) -> list[str]:
        async def ask(**options: Any) -> str:
            try:
                return str((await f.get(f"https://127.0.0.1:{s.port}/", {}, **options)).status)
            except OutboundError as error:
                return error.code

        results = [await ask(ca_pem=text) for text in ("", pem(OURS), pem(OURS), "", pem(OTHER), pem(OTHER))]
        results += [await ask(ca_pem=pem(OURS), method="POST", body=b"x"), await ask(method="POST", body=b"x")]
        return [*results, await ask(ca_pem=pem(OTHER) + pem(OURS)), await ask(gzip=True), await ask(ca_pem=pem(OURS))]

    server = Server(answer)
    accepted = play(server, scenario, tls=ISSUED)
    assert accepted == ["tls", "200", "200", "tls", "tls", "tls", "200", "tls", "200", "tls", "200"]
    assert len(server.requests) == 5


def test_a_single_call_trusts_them_for_itself_alone(send: Any) -> None:
    assert send(says(OK), scheme="https", tls=ISSUED, ca_pem=pem(OURS)).status == 200
    for text in ("", pem(OTHER)):
        assert failure(says(OK), send=send, scheme="https", tls=ISSUED, ca_pem=text).code == "tls"
    assert send(says(OK), ca_pem=pem(OURS)).status == 200  # of no use, and no obstacle, without TLS


def test_they_are_trusted_in_addition_to_the_usual_ones(send: Any) -> None:
    assert send(says(OK), scheme="https", tls=server_side(USUAL), ca_pem=pem(OURS)).status == 200


def test_which_authorities_verify_a_host_is_remembered() -> None:
    handshakes: list[int] = []

    async def scenario(s: Server, f: Fetcher) -> None:
        for _ in range(3):
            assert (await f.get(f"https://localhost:{s.port}/", {}, ca_pem=pem(OURS))).status == 200
        async with serving(Server(once), server_side(OURS)) as other:
            assert (await f.get(f"https://localhost:{other.port}/", {}, ca_pem=pem(OURS))).status == 200

    context = server_side(USUAL)
    context.sni_callback = lambda *_: handshakes.append(1)
    play(Server(once), scenario, tls=context)
    assert len(handshakes) == 4


@pytest.mark.parametrize("name", ["other.example", "localhost"])
def test_the_certificate_must_be_for_the_name(name: str, send: Any) -> None:
    error = failure(says(OK), send=send, scheme="https", tls=server_side(OURS, "a.example"), ca_pem=pem(OURS))
    assert error.code == "tls"
    assert "127.0.0.1" in str(error)


def test_an_intermediate_authority_may_be_trusted_alone(send: Any) -> None:
    child = OURS.create_child_ca()
    assert send(says(OK), scheme="https", tls=server_side(child), ca_pem=pem(child)).status == 200


def made(*, days: int = 1, begun: int = 30, name: str = "Old CA") -> str:
    """Return a certificate in PEM that ends in `days` days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now - timedelta(days=begun)).not_valid_after(now + timedelta(days=days))
    ).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


VALID = made()
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "no certificate"),
        (BEGIN, "no certificate"),
        (BEGIN * 2000, "no certificate"),
        ("-----BEGIN " + "A" * 60_000, "no certificate"),
        (f"{BEGIN}\n{END}", "Certificate 1 .* is broken"),
        (f"{BEGIN}\nAAAA\n{END}", "Certificate 1 .* is broken"),
        (VALID + f"{BEGIN}\n!!!!\n{END}", "Certificate 2 .* is broken"),
        (VALID.replace(END, ""), "no certificate"),
        (VALID[:200] + VALID[260:], "Certificate 1 .* is broken"),
        (VALID.replace("\n", "\\n"), "Certificate 1 .* is broken"),
        (made(days=-3) + made(days=-1, name="Later"), "Certificate 2 .*CN=Later, expired on 2"),
        (made(days=-1), "Certificate 1 .*CN=Old CA, expired on 2"),
        (OURS.private_key_pem.bytes().decode() + VALID, "a private key"),
        (f"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n{VALID}", "a block “X509 CRL”"),
        (VALID * 200, "longer than 64 KiB"),
    ],
)
def test_text_that_is_no_list_of_valid_certificates_is_refused_and_the_problem_named(text: str, problem: str) -> None:
    with pytest.raises(CertificateError, match=problem) as caught:
        check_ca_pem(text)
    assert caught.value.field == "ca_pem"
    assert "ca_pem" in str(caught.value)


@pytest.mark.parametrize(
    "text", [VALID, f"My CA:\r\n{VALID}\n# end\n".replace("\n", "\r\n"), VALID + VALID, f" {VALID}"]
)
def test_certificates_are_kept_without_what_stands_between_them(text: str) -> None:
    kept = check_ca_pem(text)
    assert kept == VALID * text.count(BEGIN)
    assert check_ca_pem(kept) == kept


def test_no_text_means_no_authorities_and_an_expired_one_breaks_no_configuration_that_was_valid() -> None:
    assert check_ca_pem(" \n") == ""
    past = datetime.now(UTC) - timedelta(days=5)
    old = made(days=-1)
    assert check_ca_pem(old, now=past) == old
    assert check_ca_pem(old + VALID) == old + VALID


def test_a_request_with_broken_authorities_is_refused_in_words(send: Any) -> None:
    server = says(OK)
    error = failure(server, send=send, scheme="https", ca_pem="nonsense")
    assert (error.code, "(ca_pem) contain no certificate" in str(error)) == ("other", True)
    assert server.connections == 0


def test_the_operators_authorities_are_trusted_by_all_requests_besides_the_usual_ones(
    send: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ours.pem"
    path.write_text(f"comment\n{pem(OURS)}")
    monkeypatch.setenv("SEQPULSE_CA_FILE", str(path))
    for authority in (OURS, USUAL):
        assert send(says(OK), scheme="https", tls=server_side(authority)).status == 200
    assert send(says(OK), scheme="https", tls=ISSUED, ca_pem=pem(OTHER)).status == 200
    assert failure(says(OK), send=send, scheme="https", tls=server_side(OTHER)).code == "tls"


def test_contexts_of_calls_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(says(OK), ISSUED) as server:
            for _ in range(3):
                url = f"https://127.0.0.1:{server.port}/"
                await asyncio.to_thread(call, "GET", url, allow=LOCAL, ca_pem=pem(OURS))

    wire._tls_context.cache_clear()
    asyncio.run(main())
    assert wire._tls_context.cache_info().misses == 1
