"""Import the admin modules of the subjects; Django imports this module."""

from dashboard.accounts import admin as accounts
from dashboard.deployments import admin as deployments

__all__ = ["accounts", "deployments"]
