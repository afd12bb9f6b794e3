"""Masked and unmasked values."""

import json
import re
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from security.redaction import (
    MAILED_KEYS,
    MASK,
    SECRET_VALUES,
    SUSPICIOUS,
    URL_CREDENTIALS,
    redact,
    redact_foreign_text,
    redact_text,
)

KEY = "sp_abcdefghij"


@pytest.mark.parametrize(
    "value",
    [
        RequestFactory().get("/", {"api_key": KEY}),
        RequestFactory().get("/", {"q": f" {KEY}"}),
        ValueError(f"no such key:\n{KEY}"),
        f"key {KEY}".encode(),
        {f"{KEY}"},
        [ValueError(f"\x1b{KEY}")],
        {"cause": ConnectionError(f"redis://:{KEY}@cache:6379/0")},
    ],
)
def test_objects_are_masked_in_the_form_that_they_are_written_in(value: Any) -> None:
    written = json.dumps(redact(value), default=repr)
    assert "abcdefghij" not in written
    assert MASK in written


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:hunter2@cache:6379/0", f"redis://{MASK}@cache:6379/0"),
        ("postgres://seqpulse:hunter2@db/seqpulse", f"postgres://{MASK}@db/seqpulse"),
        ("https://hunter.example:8000/a@b", "https://hunter.example:8000/a@b"),
        ("/?q=%20sp_abcdefghij", f"/?q=%20sp_{MASK}"),
        ("GET /accounts/password/reset/key/1a-cx2k-77aa/", f"GET /accounts/password/reset/key/{MASK}/"),
        ("GET /accounts/confirm-email/MQ:1uYz:a_b-c/?x=1", f"GET /accounts/confirm-email/{MASK}/?x=1"),
        ("?next=%2Faccounts%2Fconfirm-email%2FMQ%3A1u%3Ab%2F", f"?next=%2Faccounts%2Fconfirm-email%2F{MASK}%2F"),
        ("GET /accounts/confirm-email/", "GET /accounts/confirm-email/"),
        ("resp_timeout_ms", "resp_timeout_ms"),
    ],
)
def test_text_is_masked_where_a_secret_stands_and_nowhere_else(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@pytest.mark.parametrize("pattern", [SECRET_VALUES, MAILED_KEYS, URL_CREDENTIALS], ids=["keys", "mailed keys", "URLs"])
@given(data=st.data())
def test_no_text_with_a_secret_passes_for_harmless(pattern: re.Pattern[str], data: st.DataObject) -> None:
    assert SUSPICIOUS.search(data.draw(st.from_regex(pattern)))


@pytest.mark.parametrize("value", [None, True, 0, 7, 0.5, "plain", [1, "a"], {"a": {"b": None}}])
def test_what_json_has_a_form_for_stays_what_it_is(value: Any) -> None:
    assert redact(value) == value
    assert type(redact(value)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"password": "hunter2", "error": "no"}',
        "db_password=hunter2&x=1",
        "X-Api-Key: hunter2",
        '<input type="hidden" name="csrf_token" value="hunter2">',
        "Authorization: Bearer hunter2",
        "Cookie: session=hunter2",
        "bearer hunter2.abc.def was refused",
        "key eyJhbGciOiJIUzI1NiJ9hunter2.eyJzdWIiOiIxIn0.c2ln",
        "sp_hunter2hunter2",
        "redis://:hunter2@cache:6379/0",
    ],
)
def test_secrets_of_others_are_masked_in_their_answers(text: str) -> None:
    assert "hunter2" not in redact_foreign_text(text)
    assert MASK in redact_foreign_text(text)


@pytest.mark.parametrize(
    "text",
    ["404 page not found", "<html><title>Not Found</title>", '{"detail": "Not found."}', "Internal Server Error"],
)
def test_an_answer_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact_foreign_text(text) == text


@pytest.mark.parametrize("part", ["x", "secret", "secret-", "a-", "a.", "aB1"])
def test_a_long_text_of_others_is_read_once(part: str) -> None:
    # It took minutes where each place of a word was tried as the beginning of a name.
    assert len(redact_foreign_text(part * (8192 // len(part)))) <= 8192
