"""Access rules: which caller gets which status from which URL. tests/test_access.py checks them. A line is

    METHOD[,METHOD]  name-of-the-address  who  status  [caller=status …]  [with field=value …]

`who` is the lowest role that is answered with `status`; the answers to the others follow from it:

    everyone                      every caller gets it
    visitor                       callers who are not signed in; the others are redirected (302)
    user                          every signed-in user; others are asked to sign in
    viewer, member, admin, owner  members of the object's team from this role on, and operators. Lower roles: 403,
                                  another team's owner: 404 as for a missing object, others are asked to sign in
    operator                      superusers only, otherwise as above
    key                           the project's API key. Another project's: 404; a revoked one, users, no key: 401

Exceptions follow the status: `foreign=302`. After `with` are the fields that a POST needs to reach its status, with
values of tests/access_world.py:Place in braces. A method without a line must be refused with 405. The rules of Django
admin are in the test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

USERS = ("viewer", "member", "admin", "owner", "foreign", "operator")
KEYS = ("key", "otherkey", "deadkey")
CALLERS = ("anonymous", *USERS, *KEYS)
ROLES = ("viewer", "member", "admin", "owner")
LOGIN, METHODS = "login", ("GET", "POST")

TABLE = """
# the API
POST     trigger                      key      200 otherkey=200  with env=prod
POST     verifications                key      200 otherkey=200  with env=prod
POST     finish                       key      200 otherkey=200  with deployment_id={deployment.uuid} result=success
GET      deployment-list              key      200 otherkey=200
GET      deployment-detail            key      200
GET      deployment-verdict           key      200
GET      deployment-metrics           key      200
GET      deployment-acknowledgements  key      200
POST     deployment-acknowledgements  key      201  with what=on_it
GET      sources                      key      200 otherkey=200
POST     sources-test                 key      200 otherkey=200
POST     alert-address                key      200 otherkey=200
PUT      sources                      key      400 otherkey=400
GET      gate                         key      400 otherkey=400
POST     gate-confirm-rollout         key      400 otherkey=400
POST     gate-confirm-promotion       key      400 otherkey=400
POST     gate-rollback                key      400 otherkey=400
GET      deployment-step              key      200
POST     deployment-step              key      409  with percent=25
GET      deployment-rollback          key      200
POST     deployment-rollback          key      409  with who=ana
POST     otlp-metrics                 key      200 otherkey=200
POST     samples                      key      400 otherkey=400
GET      sdh                          key      200 otherkey=200

# health, metrics, documentation
GET      schema                       everyone 200
GET      docs                         everyone 200
GET      client                       everyone 200
GET      ds-metrics                   everyone 200
GET      health                       everyone 200
GET      health-scheduler             everyone 200
GET      health-live                  everyone 200
GET      db-check                     everyone 200
GET      metrics                      everyone 401

# its caller is known by Slack's signature (notifications/tests/test_slack_actions.py)
POST     slack-actions                everyone 404

# its callers are known by the token in the address (metrics/tests/test_alerts.py)
POST     alerts                       everyone 404

# pages
GET,POST dashboard:home               everyone 302
GET      dashboard:favicon            everyone 302
GET      dashboard:login              everyone 302
GET      dashboard:logout             everyone 302
GET      dashboard:overview           user     200
GET      dashboard:overview-live      user     200
GET      dashboard:events             user     204
GET      dashboard:deployments        user     200
GET      dashboard:deployments-live   user     200
GET      dashboard:deployment         viewer   200
GET      dashboard:deployment-live    viewer   200
GET      dashboard:deployment-events  viewer   204
GET      dashboard:deployments-csv    user     200
GET      dashboard:deployments-json   user     200
POST     dashboard:steps-dismiss      user     302
POST     dashboard:feedback           member   302  with feedback-mark=right
POST     dashboard:rollback-approve   member   302
POST     dashboard:acknowledge        member   302  with ack-what=on_it
GET      dashboard:source-choose      admin    200
GET,POST dashboard:source-new         admin    200
GET,POST dashboard:source             admin    200
POST     dashboard:source-arrange     admin    302  with do=up
GET      dashboard:compare            viewer   200
GET      dashboard:deployment-download viewer   200
GET      dashboard:rerun              member   200
POST     dashboard:rerun              member   409
GET,POST dashboard:replay             member   200  with kind=adaptive sensitivity=low
GET      dashboard:hints              user     200
GET      dashboard:environment        viewer   200
GET      dashboard:environment-live   viewer   200
GET      dashboard:history            viewer   200
POST     dashboard:history            admin    302  with do=again
GET      dashboard:history-live       viewer   200
GET      dashboard:past-deployment    viewer   200
GET      dashboard:environment-events viewer   204
GET      dashboard:projects           user     200
GET,POST dashboard:project-new        user     200 viewer=403 member=403  with team={team.pk} name=new environment=prod
GET      dashboard:project            viewer   200
GET      dashboard:integration        viewer   200
GET      dashboard:project-settings   viewer   200
POST     dashboard:project-settings   admin    302  with name=renamed
POST     dashboard:project-plan       operator 302  with plan=pro
POST     dashboard:project-archive    admin    302
POST     dashboard:project-unarchive  admin    302
GET      dashboard:project-delete     owner    200
POST     dashboard:project-delete     owner    302  with typed={project.name}
POST     dashboard:environment-new    admin    302  with new-environment=staging
GET      dashboard:project-keys       viewer   200
POST     dashboard:project-keys       admin    200  with name=ci
POST     dashboard:key-revoke         admin    302
GET      dashboard:environment-settings viewer   200
POST     dashboard:environment-settings admin    302  with name=renamed
POST     dashboard:environment-units  admin    302  with latency_p95=s
POST     dashboard:environment-origins admin   302  with origins=https://green.example
POST     dashboard:environment-settle admin    302  with settle_s=90
POST     dashboard:environment-probe  admin    200  with url=http://127.0.0.1:9/
POST     dashboard:environment-endpoint admin    302  with do=deactivate seen={environment.metrics_endpoint}
POST     dashboard:environment-signing admin    200  with do=begin
GET      dashboard:environment-delete owner    200
POST     dashboard:environment-delete owner    302  with typed={environment.name}
GET      dashboard:search              user   200
POST     dashboard:environment-verify member 302
GET      dashboard:environment-rollback viewer 200
POST     dashboard:environment-rollback admin  302  with mode=off minutes=30
POST     dashboard:environment-rollback-test admin 302
GET      dashboard:policy             viewer   200
POST     dashboard:policy             admin    302  with do=save kind=adaptive sensitivity=low
POST     dashboard:exclude-window     admin    302  with window-starts_at={earlier} window-ends_at={later}
POST     dashboard:include-window     admin    302

# teams, invitations, status
GET      dashboard:teams              user     200
POST     dashboard:teams              user     302  with name=new
GET      dashboard:team               viewer   200
GET      dashboard:channels           viewer   200
GET      dashboard:channel-new        admin    200
POST     dashboard:channel-new        admin    302  with name=ops config-url=http://h/ config-secret={team.pk:0>32}
GET      dashboard:channel            viewer   200
POST     dashboard:channel            admin    302  with name=ops
POST     dashboard:channel-test       admin    302
POST     dashboard:channel-disable    admin    302
POST     dashboard:channel-enable     admin    302
POST     dashboard:channel-delete     admin    302
POST     dashboard:delivery-again     admin    302
GET      dashboard:project-links      viewer   200
POST     dashboard:project-links      admin    200  with kind=feed title=own language=en
POST     dashboard:link-revoke        admin    302
GET      dashboard:feed               everyone 200
GET      dashboard:badge              everyone 200
GET      dashboard:public-project     everyone 200
GET      dashboard:mail               everyone 200
POST     dashboard:mail               everyone 302  with agree=yes
GET      dashboard:freezes            viewer   200
POST     dashboard:freezes            member   302  with reason=x time_zone=UTC
POST     dashboard:freeze-lift        member   302
POST     dashboard:team-rename        admin    302  with name=renamed
POST     dashboard:team-delete        owner    302  with typed={team.name}
POST     dashboard:team-leave         viewer   302 operator=404
POST     dashboard:team-member-role   admin    302  with role=viewer
POST     dashboard:team-member-remove admin    302
POST     dashboard:team-invite        admin    302  with invite-email=new@example.com invite-role=member
POST     dashboard:team-invitation-resend admin    302
POST     dashboard:team-invitation-revoke admin    302
GET      dashboard:invitation         everyone 200
POST     dashboard:invitation         user     302
GET      dashboard:status             user     200
GET      dashboard:operation          operator 200 foreign=403
GET      dashboard:status-live        user     200
GET      dashboard:status-events      user     204

# personal settings
GET      dashboard:settings           user     200
POST     dashboard:settings           user     302  with username=renamed language=fr theme=dark time_zone=Europe/Paris
GET      dashboard:sessions           user     200
POST     dashboard:sessions-end       user     302
POST     dashboard:session-end        user     404
POST     dashboard:set-language       everyone 302  with language=fr

# accounts: in front of Django admin's own, and django-allauth
GET,POST account_login                visitor  200
GET      account_logout               everyone 200 anonymous=302 key=302 otherkey=302 deadkey=302
POST     account_logout               everyone 302
GET      account_inactive             everyone 200
GET,POST account_signup               visitor  200
GET,POST account_reauthenticate       user     200
GET      account_email                user     200
POST     account_email                user     302
GET      account_email_verification_sent everyone 200
GET,POST account_change_password      user     200
GET,POST account_set_password         user     302
GET,POST account_reset_password       everyone 200
GET,POST account_confirm_login_code   everyone 302
GET      account_confirm_email        everyone 200
POST     account_confirm_email        everyone 404
GET      account_reset_password_from_key_done everyone 200
GET,POST account_reset_password_from_key everyone 200
GET      account_reset_password_done  everyone 200
GET      mfa_index                    user     200
GET,POST mfa_authenticate             everyone 302
GET,POST mfa_reauthenticate           user     302
GET,POST mfa_activate_totp            user     302
GET,POST mfa_deactivate_totp          user     404
GET      mfa_view_recovery_codes      user     404
GET,POST mfa_generate_recovery_codes  user     302
GET,POST mfa_download_recovery_codes  user     404
GET      mfa_list_webauthn            user     200
GET,POST mfa_add_webauthn             user     302
GET,POST mfa_reauthenticate_webauthn  user     302
GET,POST mfa_login_webauthn           everyone 302
GET      socialaccount_login_cancelled everyone 200
GET      socialaccount_login_error    everyone 401
GET,POST socialaccount_signup         everyone 302
GET,POST socialaccount_connections    user     200
GET,POST github_login                 everyone 404
GET,POST github_callback              everyone 404
GET,POST google_login                 everyone 404
GET,POST google_callback              everyone 404
GET,POST google_login_by_token        everyone 404
GET,POST usersessions_list            everyone 302
GET,POST admin/password_change/       everyone 302
GET,POST accounts/social/login/cancelled/ everyone 301
GET,POST accounts/social/login/error/ everyone 301
GET,POST accounts/social/signup/      everyone 301
GET,POST accounts/social/connections/ everyone 301
GET,POST mfa_remove_webauthn          user     302
GET,POST mfa_edit_webauthn            user     302
"""


@dataclass(frozen=True)
class Line:
    """One line of the table, for one method: the answer to each caller."""

    method: str
    name: str
    answers: Mapping[str, str] = field(hash=False)
    fields: Mapping[str, str] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.method} {self.name}"

    @property
    def is_api(self) -> bool:
        return self.answers["anonymous"] == "401"


def answers_of(who: str, status: str) -> dict[str, str]:
    """Return the status by caller, as described above.

    Raises: KeyError for an unknown `who`.
    """
    if who == "everyone":
        return dict.fromkeys(CALLERS, status)
    if who == "visitor":
        return dict.fromkeys(CALLERS, status) | dict.fromkeys(USERS, "302")
    if who == "key":
        return dict.fromkeys(CALLERS, "401") | {"key": status, "otherkey": "404"}
    answers = dict.fromkeys(CALLERS, LOGIN)
    if who == "user":
        return answers | dict.fromkeys(USERS, status)
    least = {**{role: place for place, role in enumerate(ROLES)}, "operator": len(ROLES)}[who]
    roles = {role: status if place >= least else "403" for place, role in enumerate(ROLES)}
    return answers | roles | {"foreign": "404", "operator": status}


def pairs(words: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words.split())


def lines() -> list[Line]:
    found = []
    for text in TABLE.splitlines():
        if text and not text.startswith("#"):
            rule, _, fields = text.partition(" with ")
            methods, name, who, status, *others = rule.split(None, 4)
            changed = pairs(" ".join(others))
            assert set(changed) <= set(CALLERS), f"{text}: callers are {CALLERS}"
            answers = answers_of(who, status) | changed
            found += [Line(method, name, answers, pairs(fields)) for method in methods.split(",")]
    return found


LINES = lines()
