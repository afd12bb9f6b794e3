"""Mails for which a request waits."""

from collections.abc import Mapping
from typing import Any

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

logger = structlog.get_logger(__name__)

# Where no other is set.
TIMEOUT_S = 10


def send_mail(
    name: str, address: str, context: Mapping[str, Any], *, headers: Mapping[str, str] | None = None, **logged: Any
) -> bool:
    """Send the mail of templates/mail/<name> in the active language; return False where no mail server took it.

    Args:
        logged: names the mail in the log, in which nothing else of it is written.
    """
    subject = " ".join(render_to_string(f"mail/{name}_subject.txt", dict(context)).split())
    mail = EmailMultiAlternatives(
        subject,
        render_to_string(f"mail/{name}.txt", dict(context)),
        to=[address],
        headers=dict(headers or {}),
        connection=get_connection(timeout=settings.EMAIL_TIMEOUT or TIMEOUT_S),
    )
    mail.attach_alternative(render_to_string(f"mail/{name}.html", dict(context)), "text/html")
    try:
        mail.send()
    # Mail backends raise errors of their own, and none of them may cost what the mail is about.
    except Exception as error:
        logger.error("mail_not_sent", mail=name, error=type(error).__name__, **logged)
        return False
    return True
