"""The page on which a project's public links are made and revoked."""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import translation
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from common.links import public_link
from dashboard.deployments.queries import with_latest
from dashboard.forms import already_submitted
from dashboard.page import current_user, page
from dashboard.projects.queries import environments_of, project_of
from dashboard.public.views import drawn
from projects.models import LinkKind, Project, PublicLink
from projects.public_links import MOST_LINKS, make_link

# What would end the text of a picture in Markdown.
UNSAFE = re.compile(r"[\[\]\\\r\n]+")
PATHS = {LinkKind.FEED: "dashboard:feed", LinkKind.BADGE: "dashboard:badge", LinkKind.PAGE: "dashboard:public-project"}


class LinkForm(forms.Form):
    """A public link: what it is, and what strangers see."""

    kind = forms.ChoiceField(label=gettext_lazy("Kind"), choices=LinkKind.choices)
    title = forms.CharField(
        label=gettext_lazy("Title"),
        max_length=100,
        help_text=gettext_lazy("The name of the project for anyone with the link."),
    )
    environments = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Environments"),
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("A badge shows one, a public page those chosen, a feed all if none is chosen."),
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=settings.LANGUAGES)

    def __init__(self, project: Project, data: Any = None) -> None:
        super().__init__(data, initial={"title": project.name, "language": get_language()})
        fields: dict[str, Any] = self.fields
        self.names: dict[int, str] = dict(environments_of(project).values_list("pk", "name"))
        if len(self.names) == 1:
            fields["environments"].initial = list(self.names)
        fields["environments"].choices = list(self.names.items())
        self.project = project

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        chosen = data.get("environments") or []
        if data.get("kind") == LinkKind.BADGE and len(chosen) != 1:
            self.add_error("environments", _("A badge shows one environment: choose it."))
        if data.get("kind") == LinkKind.PAGE and not chosen:
            self.add_error("environments", _("Choose what the page shows."))
        if self.project.public_links.count() >= MOST_LINKS:
            raise forms.ValidationError(_("There are %(most)s links already: revoke some.") % {"most": MOST_LINKS})
        return data


@page("GET", "POST", of=project_of, post=Action.CHANGE_PROJECT, limit="making")
def links(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """List the links; on POST, make one, whose address only this answer shows."""
    form = LinkForm(project, request.POST or None)
    made = markdown = ""
    if form.is_bound and form.is_valid():
        if already_submitted(request):
            messages.warning(request, _("This link was made already and shown once."))
            return redirect("dashboard:project-links", uuid=project.uuid)
        token = make_link(project, form.cleaned_data, by=current_user(request))
        made = public_link(PATHS[LinkKind(form.cleaned_data["kind"])], token, request=request)
        if form.cleaned_data["kind"] == LinkKind.BADGE:
            [environment] = form.cleaned_data["environments"]
            name = UNSAFE.sub(" ", f"{form.cleaned_data['title']} {form.names[environment]}")
            markdown = f"![{name}]({made})"
        form = LinkForm(project)
    names = form.names
    found = list(project.public_links.select_related("created_by").order_by("pk"))
    badges = badges_of(project, found)
    rows = [
        (link, ", ".join(names[pk] for pk in link.environments if pk in names), badges.get(link.pk)) for link in found
    ]
    context = {"project": project, "actions": actions, "form": form, "rows": rows, "made": made, "markdown": markdown}
    return render(request, "dashboard/public/links.html", context)


def badges_of(project: Project, links: Sequence[PublicLink]) -> dict[int, str]:
    """Return the badges as they are now, as data URLs, by link. Two queries; none without badges."""
    badges = [link for link in links if link.kind == LinkKind.BADGE]
    shown = environments_of(project).filter(pk__in={pk for link in badges for pk in link.environments})
    latest = {one.pk: one for one in with_latest(shown)} if badges else {}
    found = {}
    for link in badges:
        environment = next((latest[pk] for pk in link.environments if pk in latest), None)
        status = environment.latest.status if environment is not None and environment.latest else None
        with translation.override(link.language):
            picture = drawn(link.title, environment, status)
        found[link.pk] = f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"
    return found


@page("POST", of=project_of, action=Action.CHANGE_PROJECT)
def revoke(request: HttpRequest, project: Project, actions: Actions, link_id: int) -> HttpResponse:
    """Revoke a link: its address answers 404 from then on."""
    get_object_or_404(project.public_links, pk=link_id).delete()
    messages.success(request, _("The link is revoked."))
    return redirect("dashboard:project-links", uuid=project.uuid)
