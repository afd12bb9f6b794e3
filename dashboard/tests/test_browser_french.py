"""The pages in French, whose words are longer: nothing is cut off, nothing scrolls sideways, dates and numbers fit."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import Role, User
from dashboard.tests import scenes
from dashboard.tests.browsing import PHONE, TALL_FONT, USUAL_FONT, WIDE, keep, sign_in, submit, unfold
from dashboard.tests.pages import address
from projects.services import set_policy
from projects.tests.factories import make_api_key, make_environment
from tests.every_page import make_pollers

pytestmark = pytest.mark.django_db(transaction=True)

CUT_OFF = Path(__file__).with_name("cut_off.js").read_text(encoding="utf-8")


def look(page: Page, name: str) -> list[str]:
    """Screenshots wide and narrow of a page in French; what of its words cannot be read."""
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    lost = []
    for size, viewport in (("wide", WIDE), ("phone", PHONE)):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        keep(page, f"french-{name}-{size}")
        for font, choose in (("usual", USUAL_FONT), ("tall", TALL_FONT)):
            page.evaluate(choose)
            lost += [f"{name} ({size}, {font} font): {what}" for what in page.evaluate(CUT_OFF)]
        page.evaluate(USUAL_FONT)
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    return lost


def test_every_page_fits_in_french(site: Page, live_server: Any, user: User) -> None:
    columns = {"metrics_endpoint": "https://shop.example.com/ds-metrics"}
    environment = scenes.environment_of(user, role=Role.OWNER, **columns)
    project = environment.project
    scenes.judged(environment, minutes_ago=90, **scenes.SLOW)
    rollback = scenes.with_baseline(environment, **scenes.BROKEN)
    scenes.half_observed(make_environment(project=project, name="staging", **columns))
    set_policy(environment, {"kind": "adaptive", "limits": {"error_rate": 0.005}}, source="dashboard")
    make_api_key(project=project)
    make_pollers()

    site.goto(f"{live_server.url}/accounts/login/")
    submit(site, "Français", heading="Se connecter")
    lost = look(site, "login")

    User.objects.update(language="fr", time_zone="Europe/Paris", is_staff=True)
    sign_in(site, live_server, address(rollback))
    expect(site.locator("#verdict-title")).to_contain_text("Retour arrière recommandé")
    unfold(site)
    expect(site.get_by_text(re.compile(r"\d{1,2} [a-zéû.]+ \d{4}")).first).to_be_attached()
    lost += look(site, "deployment")
    for page, values in (
        ("compare", {"uuid": rollback.uuid}),
        ("replay", {"uuid": rollback.uuid}),
        ("overview", {}),
        ("deployments", {}),
        ("hints", {}),
        ("environment", {"environment_id": environment.pk}),
        ("policy", {"environment_id": environment.pk}),
        ("environment-settings", {"environment_id": environment.pk}),
        ("projects", {}),
        ("project", {"uuid": project.uuid}),
        ("project-settings", {"uuid": project.uuid}),
        ("project-keys", {"uuid": project.uuid}),
        ("integration", {"uuid": project.uuid}),
        ("settings", {}),
        ("sessions", {}),
        ("team", {"team_id": project.team_id}),
        ("status", {}),
    ):
        site.goto(live_server.url + reverse(f"dashboard:{page}", kwargs=values))
        lost += look(site, page)
    site.goto(live_server.url + reverse("dashboard:policy", kwargs={"environment_id": environment.pk}))
    expect(site.get_by_role("textbox", name="Taux d’erreurs : au plus", exact=True)).to_have_value("0,5")
    site.locator("summary").filter(has_text="Votre menu").click()
    lost += look(site, "menu")
    assert not lost, "\n".join(lost)
