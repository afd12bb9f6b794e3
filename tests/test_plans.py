"""Plans are the means of operators: without SEQPULSE_PLANS=on, people meet them nowhere."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.urls import reverse

from accounts.tests.factories import make_membership, make_user
from dashboard.tests.pages import words
from projects.models import Project
from projects.services import create_project
from projects.tests.factories import make_project
from tests.access_world import FIXED, IDS, addresses, client_of
from tests.every_page import World, make_world

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parent.parent
MENTION = re.compile(r"\bplans?\b|\bformules?\b|\benterprise\b", re.IGNORECASE)
# What users read; the other documents are for operators and developers.
FOR_USERS = ["README.md", *(f"docs/{name}.md" for name in ("dashboard", "metrics-endpoint", "pipelines", "policies"))]
FOR_USERS += ["docs/protocol.md", "docs/verdicts.md"]
LIMITS = {True: ("free", 5, 7, 300), False: ("pro", 10, 30, 60)}


def limits_of(project: Project) -> tuple[str, int, int, int]:
    return (
        project.plan,
        project.effective_window_minutes,
        project.effective_retention_days,
        project.baseline_interval_s,
    )


def answers(world: World) -> dict[str, str]:
    """Return the text of every page and of the answers to forms that tell limits."""
    project, found = world.place.project, {}
    for name, address in addresses().items():
        if all(address.id_of(each) in IDS or each in FIXED for each in address.parameters):
            url = address.url(address.values(world.place))
            for who in ("viewer", "boss"):
                with transaction.atomic():
                    answer = getattr(world, who).get(url)
                    transaction.set_rollback(True)
                if answer.get("Content-Type", "").startswith(("text/html", "application/", "text/plain")):
                    found[f"{name} ({who})"] = text_of(answer)
    for field in ("window_minutes", "retention_days"):
        sent = world.boss.post(reverse("dashboard:project-settings", args=[project.uuid]), {"name": "x", field: "999"})
        assert "999" in sent.content.decode()
        found[f"{field} too large"] = text_of(sent)
    return found


def text_of(answer: Any) -> str:
    if answer.streaming or not answer.content:
        return ""
    return words(answer) if answer.get("Content-Type", "").startswith("text/html") else answer.content.decode()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_page_and_no_answer_mentions_plans_where_there_are_none(settings: Any, language: str) -> None:
    settings.SEQPULSE_PLANS = False
    pages = answers(make_world(language))
    assert len(pages) > 50
    assert {name: found[0] for name, text in pages.items() if (found := MENTION.search(text))} == {}


@pytest.mark.parametrize(("language", "word"), [("en", "Plan Free"), ("fr", "Formule")])
def test_pages_name_the_plan_where_there_are_plans(settings: Any, language: str, word: str) -> None:
    settings.SEQPULSE_PLANS = True
    world = make_world(language)
    places = {"project-settings": world.place.project.uuid, "environment-settings": world.place.environment.pk}
    for name, value in places.items():
        assert word in words(world.viewer.get(reverse(f"dashboard:{name}", args=[value]))), name


@pytest.mark.parametrize("document", FOR_USERS)
def test_documents_for_users_know_no_plans(document: str) -> None:
    assert not MENTION.findall((ROOT / document).read_text())


@pytest.mark.parametrize("plans", [True, False])
def test_a_new_project_gets_the_limits_of_the_installation(settings: Any, plans: bool) -> None:
    settings.SEQPULSE_PLANS = plans
    printed = StringIO()
    call_command("create_project", "by command", stdout=printed)
    assert printed.getvalue().splitlines()[0] == "Project      by command" + " (free)" * plans
    owner = make_membership(role="owner")
    client, team = client_of(owner.user), owner.team
    page = {"name": "by page", "environment": "prod", "team": team.pk}
    assert client.post(reverse("dashboard:project-new"), page).status_code in (200, 302)
    made = [create_project("by service", environment="prod").project, *Project.objects.filter(name__startswith="by ")]
    assert len(made) == 4
    assert {limits_of(project) for project in made} == {LIMITS[plans]}


@pytest.mark.parametrize("plans", [True, False])
def test_the_admin_offers_the_plan_of_new_projects(settings: Any, plans: bool) -> None:
    settings.SEQPULSE_PLANS = plans
    boss = client_of(make_user(is_superuser=True, is_staff=True))
    page = boss.get("/admin/projects/project/add/").content.decode()
    assert f'<option value="{LIMITS[plans][0]}" selected' in page


@pytest.mark.parametrize("plans", [True, False])
@pytest.mark.parametrize("plan", ["free", "pro", "enterprise"])
def test_a_project_keeps_what_it_has_whatever_the_setting_says(settings: Any, plans: bool, plan: str) -> None:
    kept = {"free": LIMITS[True], "pro": LIMITS[False], "enterprise": ("enterprise", 15, 90, 60)}
    settings.SEQPULSE_PLANS = plans
    assert limits_of(make_project(plan=plan)) == kept[plan]


def test_operators_put_a_project_on_any_plan_without_the_pages(settings: Any) -> None:
    settings.SEQPULSE_PLANS = False
    assert limits_of(create_project("large", environment="prod", plan="enterprise").project)[1:] == (15, 90, 60)
    world = make_world("en")
    project = world.place.project
    chosen = {"action": "put_on_plan", "plan": "enterprise", "_selected_action": [project.pk]}
    assert world.boss.post("/admin/projects/project/", chosen).status_code == 302
    assert Project.objects.get(pk=project.pk).plan == "enterprise"
    url = reverse("dashboard:project-plan", args=[project.uuid])
    assert world.boss.post(url, {"plan": "free"}).status_code == 404
    assert Project.objects.get(pk=project.pk).plan == "enterprise"
