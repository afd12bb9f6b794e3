"""The page behind the links in mails: whether a team may send mail to an address. The link alone authorizes."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from accounts.models import Team
from dashboard.page import page
from notifications import recipients


# The link is what entitles; mail programs that end a subscription with one click have no token of a form (RFC 8058).
@csrf_exempt
@page("GET", "POST", login=False)
def mail(request: HttpRequest, token: str) -> HttpResponse:
    """Show whether mail comes, and on POST change it: it comes no more unless the form says `agree`."""
    found = recipients.read_link(token)
    team = Team.objects.filter(pk=found[0]).first() if found is not None else None
    if found is None or team is None:
        raise Http404
    if request.method == "POST":
        agrees = "agree" in request.POST
        recipients.decide(team, found[1], agrees=agrees)
        messages.success(request, _("Mails will come.") if agrees else _("No more mails of this team will come."))
        return redirect(request.path)
    context = {"team": team, "state": recipients.state_of(team, found[1])}
    return render(request, "dashboard/notifications/consent.html", context)
