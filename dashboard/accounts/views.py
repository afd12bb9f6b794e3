"""Personal settings, and where signing in and out once was."""

from __future__ import annotations

from typing import Any

from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

# Bookmarks and links in old mails; forms go to django-allauth's own addresses.
login: Any = require_safe(RedirectView.as_view(pattern_name="account_login", query_string=True))
logout: Any = require_safe(RedirectView.as_view(pattern_name="account_logout"))
