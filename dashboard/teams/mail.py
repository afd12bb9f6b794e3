"""The mail with an invitation to a team."""

from accounts.models import Invitation, User
from common.mailing import send_mail
from dashboard.labels import ROLES, name_of


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
    return send_mail("invitation", invitation.email, context, invitation_id=invitation.pk)
