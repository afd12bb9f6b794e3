"""The web server's entry point. A wrong setting refuses to serve, as it refuses every command."""

import os

from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")

application = get_wsgi_application()

errors = [issue for issue in run_checks(tags=["seqpulse"]) if issue.level >= ERROR]
if errors:
    raise ImproperlyConfigured("; ".join(f"{issue.msg} ({issue.id})" for issue in errors))
