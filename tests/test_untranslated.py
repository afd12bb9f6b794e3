"""Every text of the interface is translatable: in catalogue, templates, pages and mails."""

import ast
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
from django.conf import settings
from django.core import mail
from django.db import models, transaction
from django.http import HttpResponse
from django.template.base import Lexer
from django.test.signals import template_rendered
from django.utils import translation
from django.utils.translation import trans_real
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import Invitation, Team, User
from analysis.models import PastDeployment
from dashboard.tests.pages import parsed
from deployments.models import Deployment
from explain.languages import Language, language
from metrics.sources import SOURCE_KINDS
from projects.models import ApiKey, Environment, ExcludedWindow, Project
from scheduler.models import Poller, ScheduledJob
from tests.every_page import looked_at, make_world
from tests.page_states import STATES
from tests.pseudo import LETTER, Pseudo, raw_texts, texts_of, untranslated
from tests.system_tools import output_of, require

ROOT: Path = settings.BASE_DIR
TEMPLATES = ROOT / "templates"
LANGUAGE = "fr"

# Words that are the same in every language.
SAME = {
    *("SeqPulse", "GitHub", "GitLab", "Google", "Jenkins", "CircleCI", "FastAPI", "Django", "Flask", "Express", "Go"),
    *("Actions", "Starlette", "ASGI", "A", "AAAA", "SRV"),
    # "Prometheus client library", as its project calls it.
    *("client", "library"),
    # Settings of sources, as files and the API name them.
    *(name for kind in SOURCE_KINDS for name in kind.config.model_fields),
    *("PostgreSQL", "Prometheus", "Python", "English", "Français"),
    *("API", "CI", "CSV", "DORA", "HMAC", "HTTP", "JSON", "SDH", "TOML", "TOTP", "UTC", "CET", "CEST", "URL"),
    # Units, and the quantiles of latency.
    *("ms", "s", "min", "h", "req", "p50", "p95", "p99", "p"),
}
# Time zones by city, as in the form of the settings.
TIME_ZONES = {
    name
    for zone in available_timezones()
    for name in (zone, zone.partition("/")[2].replace("_", " ").replace("/", ", "))
}
# Text written by users and programs, shown as stored. Our own codes, states and texts do not belong here.
DATA_COLUMNS: dict[type[models.Model], tuple[str, ...]] = {
    ApiKey: ("name", "prefix"),
    Deployment: ("branch", "author", "version", "commit_sha", "commit_message", "url"),
    Environment: ("name", "metrics_endpoint"),
    ExcludedWindow: ("reason",),
    Invitation: ("email",),
    PastDeployment: ("name", "commit_sha"),
    Poller: ("name", "host"),
    Project: ("name",),
    ScheduledJob: ("last_error",),
    Team: ("name",),
    User: ("username", "email", "first_name", "last_name"),
}


def listed(lines: Iterable[str], advice: str = "") -> str:
    """Format lines for an assertion message; pytest would truncate a list."""
    return "\n".join([advice, *lines])


# --- the catalogue -------------------------------------------------------------------------------------------------


def recipe(command: str) -> list[str]:
    """Return the arguments of `manage.py command` in `make messages`."""
    shown = output_of(require("make"), "--dry-run", "--no-print-directory", "messages").replace("\\\n", " ")
    line = next(line for line in shown.splitlines() if f"manage.py {command}" in line)
    return shlex.split(line.partition("manage.py ")[2])


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the catalogue as `make messages` would write it."""
    require("xgettext", "gettext")
    copy = tmp_path_factory.mktemp("messages") / "seqpulse"
    left_out = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "benchmarks", "demo", "docs", "static", "tests", "var"
    )
    shutil.copytree(ROOT, copy, ignore=left_out)
    output_of(sys.executable, "manage.py", *recipe("makemessages"), cwd=copy)
    return copy / "locale" / LANGUAGE / "LC_MESSAGES" / "django.po"


def entries(catalogue: Path, *which: str) -> list[str]:
    """Return the texts that msgattrib selects by these options."""
    shown = output_of(require("msgattrib", "gettext"), "--no-wrap", "--no-obsolete", *which, catalogue)
    return re.findall(r'^msgid "(.+)"$', shown, re.M)


@pytest.mark.integration
def test_the_catalogue_has_every_text_of_the_code(fresh: Path) -> None:
    assert len(entries(fresh)) > 600
    empty, guessed = entries(fresh, "--untranslated"), entries(fresh, "--only-fuzzy")
    assert not empty, listed(empty, "make messages, then fill these in:")
    assert not guessed, listed(guessed, "look at these guesses:")


def test_no_text_is_looked_for_by_more_than_a_text() -> None:
    """`makemessages` reads literals only: a text built first would silently stay English."""
    functions = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy", "Plural"}
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions):
                continue
            if any(isinstance(arg, ast.JoinedStr) for arg in node.args):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, listed(wrong)


# --- sources -------------------------------------------------------------------------------------------------------


def sources() -> Iterator[Path]:
    """Yield the modules that run in production."""
    for app in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]:
        for path in sorted((ROOT / app).rglob("*.py")):
            if not {"tests", "migrations", "management"} & set(path.relative_to(ROOT).parts):
                yield path


# Snippets for other services.
NO_PAGES = ("snippets/",)


# Needs a security key, and so a browser.
WITH_A_KEY = {"mfa/webauthn/reauthenticate.html"}


def templates() -> list[Path]:
    found = sorted(TEMPLATES.rglob("*.*"))
    return [path for path in found if not path.relative_to(TEMPLATES).as_posix().startswith(NO_PAGES)]


def words_in(text: str) -> list[str]:
    return untranslated(text, data=(), same=SAME)


def test_no_template_has_a_text_of_its_own() -> None:
    """Checked in the source, because rendered pages do not reach every branch."""
    wrong = []
    for path in templates():
        texts = raw_texts(Lexer(path.read_text(encoding="utf-8")).tokenize())
        found = [text for text in texts if words_in(text.text)]
        wrong += [f"{path.relative_to(TEMPLATES)}: <{text.node}> {text.text}" for text in found]
    assert not wrong, listed(wrong)


# Arguments that users read: by name of the called function, positions and names.
SHOWN: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "ValidationError": ((0,), ("message",)),
    "add_error": ((1,), ("error",)),
    "message_user": ((1,), ("message",)),
    **dict.fromkeys(("success", "error", "warning", "info"), ((1,), ("message",))),
    "action": ((), ("description",)),
    "display": ((), ("description", "empty_value")),
    **dict.fromkeys(
        ("CharField", "ChoiceField", "BooleanField", "IntegerField", "DecimalField", "DateTimeField", "EmailField"),
        ((), ("label", "help_text")),
    ),
}
# Errors of the API, which is English; models are only shown in Django admin.
OF_THE_API = ("serializers.py", "api.py", "filters.py", "pagination.py", "models.py")


def shown_arguments(call: ast.Call) -> Iterator[ast.expr]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    whom = getattr(getattr(call.func, "value", None), "id", "")
    # Loggers have methods of the same names.
    if name not in SHOWN or (name in ("success", "error", "warning", "info") and whom != "messages"):
        return
    places, names = SHOWN[name]
    yield from (call.args[place] for place in places if place < len(call.args))
    yield from (each.value for each in call.keywords if each.arg in names)


def test_no_message_label_or_action_is_written_as_it_is() -> None:
    wrong = []
    for path in sources():
        if path.as_posix().endswith(OF_THE_API):
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            for given in shown_arguments(call):
                parts = given.values if isinstance(given, ast.JoinedStr) else [given]
                literal = " ".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
                if LETTER.search(literal):
                    wrong.append(f"{path.relative_to(ROOT)}:{call.lineno}: {literal}")
    assert not wrong, listed(wrong)


SHOWN_BY_SCRIPT = re.compile(
    r"""(?:\.(?:textContent|innerText|innerHTML|title|placeholder|alt|ariaLabel|label)\s*\+?=(?!=)"""
    r"""|\b(?:alert|confirm|prompt|append|createTextNode)\("""
    r"""|setAttribute\(\s*["'](?:title|placeholder|alt|aria-label)["'],)\s*(["'`])(?P<text>[^"'`]*)\1"""
)
SENTENCE = re.compile(r"""(["'`])(?P<text>[A-Z][^"'`\n]*[a-z] [a-z][^"'`\n]*)\1""")


def test_scripts_show_what_the_page_gave_them() -> None:
    """Texts come from data- attributes of the page, in its language."""
    wrong = []
    for path in sorted((ROOT / "static" / "seqpulse").rglob("*.js")):
        script = re.sub(r"/\*.*?\*/|^\s*//.*?$", " ", path.read_text(encoding="utf-8"), flags=re.S | re.M)
        found = [*SHOWN_BY_SCRIPT.finditer(script), *SENTENCE.finditer(script)]
        wrong += [
            f"{path.name}: {match['text']}" for match in found if words_in(re.sub(r"\$\{.*?\}", "", match["text"]))
        ]
    assert not wrong, listed(wrong)


# --- pages and mails -----------------------------------------------------------------------------------------------


# What the content security policy of pages blocks.
INLINE_SCRIPT = "//script[not(@src) and not(starts-with(@type, 'application/json'))]"
INLINE = f"//style | //@style | //@*[starts-with(name(), 'on')] | {INLINE_SCRIPT}"


@dataclass
class Seen:
    """Results: untranslated texts as lines, rendered templates, answers by page."""

    wrong: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    templates: set[str] = field(default_factory=set)
    pages: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    data: set[str] = field(default_factory=set)
    # Texts that were already read.
    read: set[tuple[str, str]] = field(default_factory=set)

    def page(self, name: str, answer: HttpResponse) -> None:
        if answer.get("Content-Type", "").startswith("text/html") and answer.content:
            self.pages.add(name)
            self.markup(name, answer.content.decode())
            self.inline += [f"{name}: {found}" for found in parsed(answer).xpath(INLINE)]

    def markup(self, name: str, markup: str) -> None:
        for found in texts_of(markup):
            self.text(name, found.node, found.text)

    def mail(self, sent: Any) -> None:
        name = f"mail “{sent.subject}”"
        self.text(name, "subject", sent.subject)
        self.text(name, "text", sent.body)
        for alternative in getattr(sent, "alternatives", []):
            self.markup(name, alternative.content)

    def text(self, name: str, node: str, text: str) -> None:
        if (node, text) in self.read or text in TIME_ZONES:
            return
        self.read.add((node, text))
        words = untranslated(text, data=self.data, same=SAME)
        if words:
            # It may be data of a new row.
            self.data |= stored_data()
            words = untranslated(text, data=self.data, same=SAME)
        if words:
            self.wrong.append(f"{name}: <{node}> {text}   [{' '.join(words)}]")


def stored_data() -> set[str]:
    return {
        line
        for model, columns in DATA_COLUMNS.items()
        for row in model._default_manager.values_list(*columns)
        for value in row
        if value
        for line in str(value).splitlines()
    }


@pytest.fixture(scope="module")
def seen(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Seen:
    """Render every page and mail in a language that marks translated text."""
    pseudo, seen = Pseudo(LANGUAGE), Seen()

    def note(template: Any, **_: Any) -> None:
        seen.templates.add(template.name)

    # Requests leave their language active.
    with (
        translation.override("en"),
        pytest.MonkeyPatch.context() as patch,
        django_db_blocker.unblock(),
        transaction.atomic(),
    ):
        patch.setitem(trans_real._translations, LANGUAGE, pseudo)  # type: ignore[attr-defined]
        of_facts = {LANGUAGE: Language(pseudo)}
        patch.setattr("explain.rendering.language", lambda code: of_facts.get(code) or language(code))
        patch.setattr(mail, "outbox", [])
        world = make_world(LANGUAGE)
        template_rendered.connect(note)
        for name, answer in looked_at(world):
            seen.page(name, answer)
        for name, state in STATES.items():
            with transaction.atomic(), translation.override(LANGUAGE):
                for answer in state(world):
                    seen.page(name, answer)
                for sent in mail.outbox:
                    seen.mail(sent)
                mail.outbox.clear()
                transaction.set_rollback(True)
        template_rendered.disconnect(note)
        transaction.set_rollback(True)
    seen.unknown = pseudo.unknown
    return seen


@pytest.mark.parametrize(
    "machine", ["sphs_pei-6BrjPpHY7j99Q9L", "sp_a_b-Cd_E", "spi_-x", "idempotency_key", "1a2b3c-4d5e6f"]
)
def test_secrets_codes_and_ids_are_no_words(machine: str) -> None:
    assert untranslated(f"{machine} Hello", data=(), same=()) == ["Hello"]


@pytest.mark.django_db
def test_pages_and_mails_show_only_translated_texts(seen: Seen) -> None:
    assert len(seen.pages) > 40
    assert not seen.wrong, listed(sorted(set(seen.wrong)), "page, <element>, text [the words of it]:")


@pytest.mark.django_db
def test_pages_have_no_inline_script_or_style(seen: Seen) -> None:
    assert not seen.inline, listed(sorted(set(seen.inline)))


@pytest.mark.django_db
def test_every_template_was_looked_at(seen: Seen) -> None:
    with_texts = [path for path in templates() if re.search(r"{% (block)?trans", path.read_text(encoding="utf-8"))]
    unseen = sorted({path.relative_to(TEMPLATES).as_posix() for path in with_texts} - seen.templates - WITH_A_KEY)
    assert not unseen, listed(unseen, "show these in a state of tests/page_states.py:")


@pytest.mark.django_db
def test_whatever_pages_ask_for_is_in_a_catalogue(seen: Seen) -> None:
    """Includes texts of Django and allauth, whose French is incomplete."""
    assert not seen.unknown - SAME, listed(sorted(seen.unknown - SAME))


def test_an_english_word_on_a_page_is_found() -> None:
    page = (
        '<p title="Speed">⟦Delivery of ⟧shop</p><svg><title>Chart</title></svg><input placeholder="⟦Name⟧" value="x">'
    )
    found = [(text.node, untranslated(text.text, data={"shop"}, same=())) for text in texts_of(page)]
    assert found == [("p[title]", ["Speed"]), ("p", []), ("svg > title", ["Chart"]), ("input[placeholder]", [])]
    assert untranslated("⟦3 of ⟧samples", data=(), same=()) == ["samples"]
    assert untranslated("0.5⟦ s⟧, 1,5⟦ s⟧, 10.0.0.1", data=(), same=()) == ["0.5"]
    assert untranslated("⟦Name⟧: ⟦none⟧", data=(), same=()) == ["⟧:"]
    source = '{% if a %}<b title="{{ x }} or">{% translate "Yes" %}</b>{% else %}No{% endif %}'
    assert [text.text for text in raw_texts(Lexer(source).tokenize())] == ["\N{WORD JOINER} or", "No"]
