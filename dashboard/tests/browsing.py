"""Helpers of browser tests: sign-in, screenshots, and axe-core on every page.

The fixture `site` (conftest.py) is the page to drive. Screenshots go to SEQPULSE_SCREENSHOTS or to build/screenshots.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from django.conf import settings
from django.test import Client
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as TookTooLong

from accounts.models import User
from dashboard.tests.pages import LIST

SCREENSHOTS = Path(os.environ.get("SEQPULSE_SCREENSHOTS", "build/screenshots"))
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
LOOKS = [(scheme, size) for scheme in ("light", "dark") for size in ("wide", "phone")]
PATIENCE_MS = 15_000

# What axe-core knows of WCAG 2.2 AA, and what it holds for good practice beyond it.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CONTRAST = "color-contrast"
RUN_AXE = """async ({exclude, rules, only}) => {
    const skipped = exclude.map(selector => [selector]);
    const settings = {runOnly: rules, resultTypes: ["violations"], preload: false, iframes: false};
    if (!only) settings.rules = {"color-contrast": {enabled: false}};
    const texts = only?.flatMap(window.unlike).filter(text => !exclude.some(selector => text.closest(selector)));
    if (texts?.length === 0) return [];
    const context = texts ? {include: texts, exclude: skipped} : {exclude: skipped};
    const found = await axe.run(context, settings);
    return found.violations.flatMap(rule => rule.nodes.map(
        node => `${rule.id} at ${node.target.join(" ")}: ${rule.help}. ${node.failureSummary.replace(/\\s+/g, " ")}`));
}"""
# Four fifths of axe-core's time go into contrast, which it works out for every word of every page. It follows from the
# colour and size of a text and from what lies behind it, so of each combination a few texts are measured, once. What is
# not in the flow may lie on anything, and is measured each time. Returns the combinations on the page, and remembers
# their elements.
LOOKS_LIKE = """() => {
    const behind = new Map([[null, ""]]), looks = new Map();
    const ground = element => {
        if (!behind.has(element)) {
            const {backgroundColor, backgroundImage, opacity, filter, position, float} = getComputedStyle(element);
            const placed = ["absolute", "fixed", "sticky"].includes(position) || float !== "none" ? "!" : "";
            const own = [backgroundColor, backgroundImage, opacity, filter, placed].join();
            const plain = own === "rgba(0, 0, 0, 0),none,1,none,";
            behind.set(element, plain ? ground(element.parentElement) : `${own}/${ground(element.parentElement)}`);
        }
        return behind.get(element);
    };
    const hasText = element => element.matches("input, select, textarea")
        || [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    for (const element of document.body.querySelectorAll("*")) {
        if (!hasText(element) || !element.checkVisibility()) continue;
        const {color, fontSize, fontWeight, textShadow} = getComputedStyle(element);
        const look = [color, fontSize, fontWeight, textShadow, ground(element)].join("|");
        looks.set(look, [...(looks.get(look) ?? []), element]);
    }
    window.unlike = look => looks.get(look)?.slice(0, look.includes("!") ? undefined : 3) ?? [];
    return [...looks.keys()];
}"""
measured: set[str] = set()


# Fonts differ in how tall and wide their lines are; pages have to hold for each. This one is a font that is there, with
# the measures of Noto Sans, whose lines are a sixth taller than those of DejaVu Sans.
TALL_FONT = """async () => {
    const names = ["Noto Sans", "DejaVu Sans", "Liberation Sans", "Arial", "Helvetica"];
    const measures = {ascentOverride: "106.9%", descentOverride: "29.3%", lineGapOverride: "0%"};
    const font = new FontFace("Tall", names.map(name => `local("${name}")`).join(), measures);
    document.fonts.add(await font.load());
    document.documentElement.style.setProperty("--font", "Tall, sans-serif");
}"""
# axe-core includes the space around a link, which depends on its neighbours.
LOW_LINKS = """() => [...document.querySelectorAll(".list tbody a")]
    .filter(link => link.checkVisibility() && link.getBoundingClientRect().height < 23.9)
    .map(link => `${link.textContent.trim()} (${link.getAttribute("href")})`)"""
USUAL_FONT = "document.documentElement.style.removeProperty('--font')"


def sign_in(page: Page, live_server: Any, path: str = LIST, *, username: str = "ada") -> None:
    """Open `path` with the session cookie of a signed-in user."""
    client = Client()
    client.force_login(User.objects.get(username=username))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    page.goto(live_server.url + path)


def submit(
    page: Page | Locator, button: str, fields: Mapping[str, str] | None = None, *, exact: bool = False, **shown: str
) -> None:
    """Fill in the fields, by label, and click the button of this name; then see (text or heading) what is shown.

    exact: labels are given in full.
    """
    for label, value in (fields or {}).items():
        page.get_by_label(label, exact=exact).fill(value)
    page.get_by_role("button", name=button, exact=True).click()
    see(page, **shown)


def see(page: Page | Locator, *, text: str = "", heading: str = "") -> None:
    """Wait until this text or heading is visible."""
    if text or heading:
        expect(page.get_by_text(text) if text else page.get_by_role("heading", name=heading)).to_be_visible()


def unfold(page: Page) -> None:
    """Open every part of the page that is folded."""
    page.evaluate("document.querySelectorAll('details.fold').forEach(fold => { fold.open = true; })")


def look(page: Page, name: str, *, text: str = "", heading: str = "", exclude: Collection[str] = ()) -> None:
    """Take screenshots in light and dark, wide and narrow; fail on horizontal scrolling and findings of axe-core.

    The dark ones are in a second font.

    text, heading: wait first until it is visible.
    exclude: selectors of third-party markup, each with its reason at the call.
    """
    see(page, text=text, heading=heading)
    # A page that was just navigated to has no document yet.
    page.wait_for_load_state()
    # A list is dimmed while its next rows are fetched.
    expect(page.locator(".htmx-request")).to_have_count(0)
    wrong: list[str] = []
    for scheme, size in LOOKS:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(WIDE if size == "wide" else PHONE)  # type: ignore[arg-type]
        page.evaluate(USUAL_FONT if scheme == "light" else TALL_FONT)
        keep(page, f"{name}-{scheme}-{size}")
        widest = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        found = ["scrolls sideways"] if widest[0] > widest[1] else []
        found += [f"{link} is less than 24 px high" for link in page.evaluate(LOW_LINKS)]
        # The other scheme changes colours, the other font sizes, and nothing else.
        found += barriers(page, exclude=exclude, only=() if scheme == "light" else ["target-size"])
        wrong += [f"{name} ({scheme}, {size}): {each}" for each in found]
    page.evaluate(USUAL_FONT)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    assert not wrong, "\n".join(wrong)


def keep(page: Page, name: str) -> None:
    """Take a screenshot of the whole page, with one retry if Chromium draws nothing for half a minute.

    On a busy machine its compositor sometimes misses the first request.
    """
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    # JPEG takes half the time of PNG, and there are hundreds.
    path = SCREENSHOTS / f"{name}.jpg"
    try:
        page.screenshot(path=path, full_page=True)
    except TookTooLong:
        page.bring_to_front()
        page.screenshot(path=path, full_page=True)


def barriers(page: Page, *, exclude: Collection[str] = (), only: Collection[str] = ()) -> list[str]:
    """Return findings of axe-core on the current page: rule, selector, advice. only: names of rules, default RULES.

    Contrast is measured in any case, of text that does not look like any measured before.
    """
    if page.evaluate("typeof axe === 'undefined'"):
        # By the debugger's door: a script element the policy of our pages refuses, as it has to.
        page.evaluate(AXE_SCRIPT)
    new = [look for look in page.evaluate(LOOKS_LIKE) if look not in measured or "!" in look]
    asked: dict[str, Any] = {"exclude": [*exclude]}
    found: list[str] = page.evaluate(RUN_AXE, asked | {"rules": {"type": "rule", "values": [CONTRAST]}, "only": new})
    if not found and not exclude:
        measured.update(new)
    others = [name for name in only if name != CONTRAST]
    if others or not only:
        rules = {"type": "rule", "values": others} if only else {"type": "tag", "values": RULES}
        found += page.evaluate(RUN_AXE, asked | {"rules": rules})
    return found
