"""Absolute links, also below the path of a proxy."""

from typing import Any

import pytest
from django.test import RequestFactory
from django.urls import get_script_prefix, set_script_prefix

from common.links import public_link

VIEW = "dashboard:overview"


@pytest.mark.parametrize("prefix", ["/", "/ops", "/ops/"])
def test_the_path_of_a_proxy_is_in_a_link_once(settings: Any, prefix: str) -> None:
    settings.SEQPULSE_PUBLIC_URL = "https://tools.example/ops"
    before = get_script_prefix()
    set_script_prefix(prefix)
    try:
        assert public_link(VIEW) == "https://tools.example/ops/dashboard/"
    finally:
        set_script_prefix(before)


def test_without_a_public_address_a_link_is_as_the_request_was(settings: Any) -> None:
    settings.SEQPULSE_PUBLIC_URL = ""
    assert public_link(VIEW) == ""
    assert public_link(VIEW, request=RequestFactory().get("/")) == "http://testserver/dashboard/"
