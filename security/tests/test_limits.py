"""Rates, and counter keys of addresses."""

import pytest

from security.limits import Rate, Usage, bucket_of


@pytest.mark.parametrize(
    ("text", "rate"),
    [("5/m", Rate(5, 60)), (" 1000/H ", Rate(1000, 3600)), ("1/s", Rate(1, 1)), ("7/d", Rate(7, 86400))],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "5", "m", "0/m", "-1/m", "5/y", "5/10m", "5/m/m", "5.5/m", "9999999999/m"])
def test_what_is_no_rate_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="like 100/m"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_an_ipv6_network_is_one_caller(address: str, bucket: str) -> None:
    assert bucket_of(address) == bucket


def test_only_an_exceeded_limit_says_when_to_come_back() -> None:
    assert "Retry-After" not in Usage(5, 5, 4_000_000_000).headers()
    exceeded = Usage(5, 6, 0).headers()
    assert exceeded == {
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "0",
        "Retry-After": "1",
    }
