"""The pages of teams as a browser without JavaScript gets them, and the mails that they send."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts.adapter import INVITATION
from accounts.invitations import Invited, invite
from accounts.models import Invitation, Membership, Role, Team, User
from dashboard.tests.pages import HOSTILE, elements, has, queries_of, shows, words
from projects.models import Project
from tests.factories import make_deployment, make_environment, make_membership, make_project, make_team, make_user

pytestmark = pytest.mark.django_db

GRACE = "grace@example.com"


@pytest.fixture
def team(user: User) -> Team:
    """Create a team owned by the signed-in user."""
    team = make_team(name="Payments")
    make_membership(team=team, user=user, role=Role.OWNER)
    return team


@pytest.fixture
def grace() -> User:
    return make_user(username="grace", email=GRACE)


def page_of(team: Team, rest: str = "") -> str:
    return f"/dashboard/teams/{team.pk}/{rest}"


def as_person(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def invited(team: Team, **kwargs: Any) -> Invited:
    owner = team.memberships.filter(role=Role.OWNER).first().user
    return invite(team, kwargs.pop("email", GRACE), kwargs.pop("role", Role.MEMBER), by=owner)


def send(client: Client, team: Team, **fields: str) -> Any:
    """Submit the invitation form."""
    data = {f"invite-{name}": text for name, text in {"email": GRACE, "role": "member", **fields}.items()}
    return client.post(page_of(team, "invitations/"), data)


def link_in(text: str) -> str:
    """The path of the invitation in a mail or a page."""
    return str(re.findall(r"http://testserver(/dashboard/invitations/[\w-]+/)", text)[0])


# --- my teams ------------------------------------------------------------------------------------------------------


def test_without_a_team_the_page_leads_to_the_first_one(browser_of, user):
    assert "You are in no team yet" in words(browser_of.get("/dashboard/teams/"))
    made = browser_of.post("/dashboard/teams/", {"name": " Payments  and more "})
    team = Team.objects.get()
    assert (team.name, made["Location"]) == ("Payments and more", page_of(team))
    assert Membership.objects.get().role == Role.OWNER
    assert "Invite the people" in words(browser_of.get(made["Location"]))


def test_my_teams_show_my_role_and_what_is_in_them(browser_of, team, user):
    make_membership(team=team)
    for _ in range(2):
        make_project(team=team)
    make_membership(team=make_team(name="Another"), user=user, role=Role.VIEWER)
    make_membership(team=make_team(name="Foreign"))
    text = words(browser_of.get("/dashboard/teams/"))
    shows(text, "Another Viewer Members 1 Projects 0 Payments Owner Members 2 Projects 2", without=["Foreign"])


def test_a_superuser_sees_every_team(client, team):
    client.force_login(make_user(is_superuser=True))
    assert "Payments not a member" in words(client.get("/dashboard/teams/"))
    assert send(client, team).status_code == 302


@pytest.mark.parametrize("name", HOSTILE)
def test_a_new_team_takes_every_hostile_name(browser_of, team, name):
    for path in ("/dashboard/teams/", page_of(team, "rename/")):
        assert browser_of.post(path, {"name": name}).status_code in (200, 302)
    for shown in Team.objects.all():
        assert "\n" not in shown.name
        body = browser_of.get(page_of(shown)).content.decode()
        assert "<script>alert(1)" not in body
        assert shown.name in html.unescape(body)


# --- one team ------------------------------------------------------------------------------------------------------


def test_a_team_shows_its_members_projects_and_invitations(browser_of, team, user, grace):
    make_membership(team=team, user=grace, role=Role.ADMIN)
    make_environment(project=make_project(team=team, name="shop"))
    invited(team, email="linus@example.com", role=Role.VIEWER)
    text = words(browser_of.get(page_of(team)))
    assert "grace grace@example.com" in text.replace("ada you", "")
    assert "linus@example.com invited by ada Role Viewer" in text
    assert "shop 1 environment" in text
    assert "Your role: Owner" in text
    assert "You are its only owner" in text


@pytest.mark.parametrize(
    ("role", "offered"),
    [
        (Role.VIEWER, ["Leave Payments"]),
        (Role.MEMBER, ["Leave Payments"]),
        (
            Role.ADMIN,
            ["Change ada-two", "Remove ada-two", "Send again", "Withdraw", "Invite", "Rename", "Leave Payments"],
        ),
    ],
)
def test_a_user_is_offered_only_what_she_may_do(team, role, offered):
    """The owner's rows, and the invitation of an owner, offer an admin nothing."""
    make_membership(team=team, user=make_user(username="ada-two"))
    invited(team)
    invited(team, email="boss@example.com", role=Role.OWNER)
    me = make_membership(team=team, role=role).user
    (main,) = elements(as_person(me).get(page_of(team)), "main")
    found = [words(button) for button in elements(main, "button")]
    mine = f"Change {me.username}"
    assert [text.replace(f" {GRACE}", "") for text in found if text != mine] == offered
    assert not elements(main, '[value="owner"]')
    assert (GRACE in words(main)) is (role == Role.ADMIN)


def test_a_member_gets_another_role_and_goes(browser_of, team, grace):
    member = make_membership(team=team, user=grace)
    said = browser_of.post(page_of(team, f"members/{member.pk}/role/"), {"role": "admin"}, follow=True)
    assert "grace has the role Admin now." in words(said)
    said = browser_of.post(page_of(team, f"members/{member.pk}/remove/"), follow=True)
    assert "grace is no longer in the team." in words(said)
    assert not Membership.objects.filter(pk=member.pk).exists()
    assert as_person(grace).get(page_of(team)).status_code == 404


@pytest.mark.parametrize("suffix", ["leave/", "members/{pk}/remove/", "members/{pk}/role/"])
def test_the_last_owner_reads_why_they_stay(browser_of, team, suffix):
    mine = team.memberships.get()
    said = browser_of.post(page_of(team, suffix.format(pk=mine.pk)), {"role": "viewer"}, follow=True)
    assert "A team needs an owner. Make somebody else an owner first." in words(said)
    assert team.memberships.get().role == Role.OWNER


@pytest.mark.parametrize("role", ["", "emperor", "\x00", "x" * 9000])
def test_an_unknown_role_is_refused(browser_of, team, grace, role):
    member = make_membership(team=team, user=grace)
    said = browser_of.post(page_of(team, f"members/{member.pk}/role/"), {"role": role}, follow=True)
    assert "There is no such role." in words(said)


def test_who_leaves_sees_the_team_no_more(team, grace):
    make_membership(team=team, user=grace)
    client = as_person(grace)
    assert "You have left the team “Payments”." in words(client.post(page_of(team, "leave/"), follow=True))
    assert client.get(page_of(team)).status_code == 404


def test_a_team_is_deleted_with_its_name_typed_and_takes_what_is_in_it(browser_of, team):
    make_deployment(environment=make_environment(project=make_project(team=team)))
    foreign = make_deployment()
    assert "With the team goes 1 project, with 1 deployment" in words(browser_of.get(page_of(team)))
    for typed in (*HOSTILE, "payments"):
        refused = browser_of.post(page_of(team, "delete/"), {"typed": typed})
        assert refused.status_code == 200
    assert "This is not the team&#x27;s name. Nothing was deleted." in refused.content.decode()
    said = browser_of.post(page_of(team, "delete/"), {"typed": "Payments"}, follow=True)
    assert "The team “Payments” is deleted." in words(said)
    assert browser_of.get(page_of(team)).status_code == 404
    assert list(Project.objects.not_deleted()) == [foreign.project]


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.VIEWER])
def test_pages_take_the_same_queries_however_much_is_in_a_team(team, role):
    client = as_person(make_membership(team=team, role=role).user)

    def add() -> None:
        make_membership(team=team)
        make_deployment(environment=make_environment(project=make_project(team=team)))
        invited(team, email=f"p{Invitation.objects.count()}@example.com")

    add()
    counts = {path: queries_of(client, path) for path in ("/dashboard/teams/", page_of(team))}
    for _ in range(3):
        add()
    assert {path: queries_of(client, path) for path in counts} == counts
    # Session, user, teams; session, user, team, role, members, projects, invitations, deployments.
    assert counts["/dashboard/teams/"] == 3
    assert counts[page_of(team)] == {Role.OWNER: 8, Role.ADMIN: 7, Role.VIEWER: 6}[role]


# --- inviting ------------------------------------------------------------------------------------------------------


def test_an_invitation_is_mailed_and_its_link_stands_nowhere_else(browser_of, team):
    answer = send(browser_of, team)
    assert answer["Location"] == page_of(team)
    letter: Any = mail.outbox[0]
    assert len(mail.outbox) == 1
    assert letter.to == [GRACE]
    assert letter.subject == "ada invites you to the team Payments on SeqPulse"
    path = link_in(letter.body)
    [(markup, kind)] = letter.alternatives
    assert kind == "text/html"
    assert path in markup
    assert not re.search(r"<img|src=|style", markup)
    page = browser_of.get(page_of(team))
    assert f"The invitation is on its way to {GRACE}." in words(page)
    assert path not in page.content.decode()


def test_the_mail_is_in_the_language_of_the_sender_and_escapes_names_only_in_markup(browser_of, team, user):
    Team.objects.filter(pk=team.pk).update(name="R&D <b>")
    User.objects.filter(pk=user.pk).update(first_name="Ada", last_name="O’Neill & Co", language="fr")
    send(browser_of, team)
    letter: Any = mail.outbox[0]
    assert len(mail.outbox) == 1
    assert "R&D <b>" in letter.subject
    assert "R&D <b>" in letter.body
    assert "Ada O’Neill & Co" in letter.body
    assert "R&amp;D &lt;b&gt;" in letter.alternatives[0][0]
    assert 'lang="fr"' in letter.alternatives[0][0]


def test_where_no_mail_leaves_the_invitation_stands_and_its_link_is_shown_once(browser_of, team, grace, settings):
    settings.EMAIL_BACKEND = "dashboard.tests.account_forms.Refusing"
    page = send(browser_of, team)
    shows(page, "The mail could not be sent")
    assert "no-store" in page["Cache-Control"]
    path = link_in(page.content.decode())
    assert path not in browser_of.get(page_of(team)).content.decode()
    assert as_person(grace).post(path)["Location"] == page_of(team)


def test_sent_again_the_old_link_ends(browser_of, team, grace):
    send(browser_of, team, role="viewer")
    again = browser_of.post(page_of(team, f"invitations/{Invitation.objects.get().pk}/resend/"))
    assert again.status_code == 302
    old, new = (link_in(letter.body) for letter in mail.outbox)
    client = as_person(grace)
    assert client.post(old).status_code == 410
    assert client.post(new).status_code == 302
    assert team.memberships.get(user=grace).role == Role.VIEWER


def test_withdrawn_its_link_ends(browser_of, team, grace):
    made = invited(team)
    path = page_of(team, f"invitations/{made.invitation.pk}/revoke/")
    for said in ("The invitation is withdrawn.", "accepted or withdrawn already"):
        shows(browser_of.post(path, follow=True), said)
    assert "Invitations" in words(browser_of.get(page_of(team)))
    assert as_person(grace).post(f"/dashboard/invitations/{made.token}/").status_code == 410


@pytest.mark.parametrize("field", ["email", "role"])
def test_hostile_invitations_name_the_field_and_send_nothing(browser_of, team, field):
    for text in HOSTILE:
        has(send(browser_of, team, **{field: text}), f'id="id_invite-{field}_error"')
    assert not mail.outbox
    assert not Invitation.objects.exists()


def test_a_form_without_fields_or_with_doubled_ones_never_breaks(browser_of, team):
    for data in ({}, {"invite-email": [GRACE, "x"], "invite-role": ["admin", "owner"]}):
        assert browser_of.post(page_of(team, "invitations/"), data).status_code in (200, 302)


# --- joining -------------------------------------------------------------------------------------------------------


def test_a_visitor_sees_the_team_and_comes_back_signed_in(client, team, grace):
    made = invited(team, role=Role.ADMIN)
    path = f"/dashboard/invitations/{made.token}/"
    page = client.get(path)
    shows(page, "Join Payments", "Role Admin")
    # The invited address is shown to signed-in users.
    assert GRACE not in page.content.decode()
    for address in ("/accounts/login/", "/accounts/signup/"):
        assert f'href="{address}?next=%2Fdashboard%2Finvitations%2F{made.token}%2F"' in page.content.decode()
    assert client.cookies[INVITATION.name].value.startswith(f"{made.invitation.pk}:")
    assert not Session.objects.exists()
    assert client.post(path)["Location"].startswith("/accounts/login/?next=")
    assert not Membership.objects.filter(team=team, role=Role.ADMIN).exists()


def test_a_user_confirms_with_which_account_they_join(team, grace):
    client, path = as_person(grace), f"/dashboard/invitations/{invited(team).token}/"
    shows(client.get(path), "Account grace grace@example.com", without=["was sent to"])
    assert not team.memberships.filter(user=grace).exists()
    said = client.post(path, follow=True)
    assert said.redirect_chain == [(page_of(team), 302)]
    assert "Welcome to the team. Your role is Member." in words(said)
    shows(client.get(path), "You have joined Payments with it.", status=410)
    assert "lets in one person, once" in words(as_person(make_user()).get(path))


def test_another_address_is_warned_of_and_may_join(team):
    other = as_person(make_user(username="linus", email="linus@example.org"))
    path = f"/dashboard/invitations/{invited(team).token}/"
    assert f"The invitation was sent to {GRACE}" in words(other.get(path))
    assert other.post(path).status_code == 302


def test_a_member_reads_which_role_they_will_have(team, grace):
    make_membership(team=team, user=grace, role=Role.MEMBER)
    client = as_person(grace)
    lower = f"/dashboard/invitations/{invited(team, email='a@example.com', role=Role.VIEWER).token}/"
    higher = f"/dashboard/invitations/{invited(team, email='b@example.com', role=Role.ADMIN).token}/"
    assert "Your role stays Member." in words(client.get(lower))
    assert "You were in the team already. Your role stays Member." in words(client.post(lower, follow=True))
    assert "Your role changes from Member to Admin." in words(client.get(higher))
    assert "Your role is Admin." in words(client.post(higher, follow=True))


def test_what_is_over_says_why_to_its_holder(client, team):
    gone = invited(team)
    Invitation.objects.filter(pk=gone.invitation.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    path = f"/dashboard/invitations/{gone.token}/"
    shows(client.get(path), "This invitation has expired", status=410)
    assert INVITATION.name not in client.cookies
    Invitation.objects.filter(pk=gone.invitation.pk).update(revoked_at=timezone.now())
    assert "This invitation was withdrawn" in words(client.get(path))


@pytest.mark.parametrize("token", ["x", "spi_" + "a" * 43, "%00", "%ed%a0%80", "a" * 5000, "é"])
def test_an_unknown_link_is_not_found(client, team, token):
    invited(team)
    assert client.get(f"/dashboard/invitations/{token}/").status_code == 404
