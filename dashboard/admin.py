"""What Django admin needs of the pages' packages; Django looks for it here."""

from __future__ import annotations

from dashboard.accounts import admin as accounts
from dashboard.deployments import admin as deployments

__all__ = ["accounts", "deployments"]
