"""What people see of a receiver's answer."""

from typing import Any

import pytest

from notifications.channels.posting import ANSWER_SHOWN, LONGEST_RETRY_AFTER_S, retry_after, seconds, shown
from outbound.session import Answer


def answered(body: bytes, remote_ip: str = "198.41.0.4") -> Answer:
    return Answer(status=200, headers={}, body=body, elapsed_ms=3.0, remote_ip=remote_ip)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"ok", "ok"),
        (b"a\0b \r\n c", "a b c"),
        (b"<html><script>x()</script><p>Taken</p></html>", "Taken"),
        (b"bad, api_key=hunter2", "bad, api_key=[redacted]"),
        (b"x" * 5000, "x" * (ANSWER_SHOWN - 1) + "…"),
    ],
)
def test_the_beginning_is_shown_without_markup_and_secrets(body: bytes, text: str) -> None:
    assert shown(answered(body)).answer == text


def test_nobody_reads_a_service_inside_a_network_by_naming_it_as_a_receiver(settings: Any) -> None:
    for inside in ("10.0.0.5", "127.0.0.1", "fd00::1", "::ffff:10.0.0.5"):
        assert shown(answered(b"of another service", inside)).answer == ""
    settings.SEQPULSE_SHOW_INTERNAL_ANSWERS = True
    assert shown(answered(b"of another service", "10.0.0.5")).answer == "of another service"


def test_times_to_wait_beyond_every_bound_are_no_error() -> None:
    assert seconds(10**400) == LONGEST_RETRY_AFTER_S
    assert retry_after({"Retry-After": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        (" 12 ", 12.0),
        ("2.5", 2.5),
        ("9" * 400, LONGEST_RETRY_AFTER_S),
        ("-5", None),
        ("+5", None),
        ("٣", None),
        ("0x10", None),
        ("1e3", None),
        ("5, 6", None),
        ("", None),
        ("soon", None),
        # The three forms of a date.
        ("Thu, 31 Dec 2099 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
        ("Thursday, 31-Dec-26 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
        ("Thu Dec 31 23:59:59 2099", LONGEST_RETRY_AFTER_S),
        ("Wed Oct 21 07:28:00 2015", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
    ],
)
def test_forms_of_retry_after(text: str, expected: float | None) -> None:
    assert retry_after({"Retry-After": text}) == expected
