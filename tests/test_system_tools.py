"""Tests whose program is missing are skipped, or fail in CI."""

import pytest

from tests.system_tools import REQUIRED, require


def test_a_program_that_is_here_is_found():
    assert require("sh").endswith("/sh")


def test_a_missing_program_skips_with_what_to_install(monkeypatch):
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install surely-not-there-tools"):
        require("surely-not-there", "surely-not-there-tools")


def test_a_missing_program_fails_where_all_are_required(monkeypatch):
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install surely-not-there"):
        require("surely-not-there")
