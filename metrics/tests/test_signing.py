from datetime import UTC, datetime, timedelta, timezone

import pytest

from metrics.signing import canonical_path, signature, signed_headers


def test_the_published_vector():
    assert (
        signature(
            "hmac_test_secret", timestamp="2026-02-13T10:00:00Z", method="get", path="/ds-metrics", nonce="abc123"
        )
        == "sha256=821ad4c61c727112d1f87f32a6af88eb327d28ab725894f87d748d6ca73271ff"
    )


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("", "/"),
        ("/", "/"),
        ("metrics", "/metrics"),
        ("/metrics/", "/metrics"),
        ("/a/b//", "/a/b"),
        ("/metrics?x=1#y", "/metrics"),
        ("https://host:8080", "/"),
        ("https://host:8080/a/?q=/b/", "/a"),
        ("https://host/a%20b", "/a%20b"),
    ],
)
def test_the_path_is_canonical(given, canonical):
    assert canonical_path(given) == canonical


def test_a_signed_request_carries_every_header_and_a_new_nonce_each_time():
    now = datetime(2026, 2, 13, 12, 0, 0, 999999, tzinfo=timezone(timedelta(hours=2)))
    first, second = (signed_headers("s", url="https://h/m/?q", now=now, project_id="p") for _ in range(2))
    assert first["X-SeqPulse-Nonce"] != second["X-SeqPulse-Nonce"]
    assert len(first["X-SeqPulse-Nonce"]) >= 20
    assert first["X-SeqPulse-Timestamp"] == "2026-02-13T10:00:00Z"
    assert first["X-SeqPulse-Signature"] == signature(
        "s", timestamp="2026-02-13T10:00:00Z", method="GET", path="/m", nonce=first["X-SeqPulse-Nonce"]
    )
    rest = {name: value for name, value in first.items() if name.rpartition("-")[2] not in ("Nonce", "Signature")}
    assert rest == {
        "X-SeqPulse-Timestamp": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "X-SeqPulse-Signature-Version": "v2",
        "X-SeqPulse-Canonical-Path": "/m",
        "X-SeqPulse-Method": "GET",
        "X-SeqPulse-Nonce-TTL": "330",
        "X-SeqPulse-Project-Id": "p",
    }
