"""The mail with an invitation to a team."""

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from accounts.models import Invitation, User
from dashboard.labels import ROLES, name_of

logger = structlog.get_logger(__name__)

# The request waits for it.
PATIENCE_S = 10


def send_invitation(invitation: Invitation, link: str, *, sender: User) -> bool:
    """Send the link in the active language; return False where no mail server accepted it.

    The invitation is valid in any case. Nothing of the link is logged.
    """
    context = {
        "invitation": invitation,
        "team": invitation.team,
        "sender": name_of(sender),
        "rights": ROLES[invitation.role],
        "link": link,
    }
    subject = " ".join(render_to_string("mail/invitation_subject.txt", context).split())
    mail = EmailMultiAlternatives(
        subject,
        render_to_string("mail/invitation.txt", context),
        to=[invitation.email],
        connection=get_connection(timeout=settings.EMAIL_TIMEOUT or PATIENCE_S),
    )
    mail.attach_alternative(render_to_string("mail/invitation.html", context), "text/html")
    try:
        mail.send()
    # Mail backends raise errors of their own, and none of them may cost the invitation.
    except Exception as error:
        logger.error("invitation_not_sent", invitation_id=invitation.pk, error=type(error).__name__)
        return False
    return True
