/* Keep elements up to date without reloading the page. htmx requests and swaps; this module preserves what the user does.

   An element takes part with the attributes written by templates/layout/_live.html:
   <div id="…" data-live="running" hx-get="…" hx-trigger="every 2s, live:now" hx-swap="outerHTML …" hx-sync="this:drop">.
   The URL answers with the same element, until it has data-live="done" and no trigger.

   On the element, all optional: data-live-title and data-live-icon are for the browser's tab, data-live-announce is
   announced when it changes. Inside it: elements with hx-preserve and an id stay, such as a form being filled in; changes
   of <time> and [data-live-text] alone cause no swap. On the page: [data-live-state] (layout/_live_state.html) shows the
   state of the connection, [data-live-connection] and [data-live-announcer] (base_project.html) announce it. */

const LONGEST_PAUSE_MS = 15000;
const TICKING = "time, [data-live-text]";
const FOCUSABLE = "a, button, summary, input, select, textarea, [tabindex]";

const connection = document.querySelector("[data-live-connection]");
const announcer = document.querySelector("[data-live-announcer]");
const indicator = document.querySelector("[data-live-state]");

/* By id of the element: current content (source), time of the last answer (seen), consecutive failures, earliest time of
   the next request (notBefore), reason of giving up (over). */
const known = new Map();

/** The state of an element, also of one added later by another swap. */
function about(element) {
  if (!known.has(element.id)) {
    known.set(element.id, { source: sourceOf(element), seen: Date.now(), failures: 0, notBefore: 0, over: "" });
  }
  return known.get(element.id);
}

const isLive = (element) => element instanceof Element && element.matches("[data-live][id]");
const isRunning = (element) => element.dataset.live === "running" && !about(element).over;
const running = () => [...document.querySelectorAll("[data-live][id]")].filter(isRunning);

/** The current element, without parts that differ in every answer: tokens in forms, and elapsed times. */
function sourceOf(element) {
  const copy = element.cloneNode(true);
  for (const kept of copy.querySelectorAll("[hx-preserve]")) kept.remove();
  for (const token of copy.querySelectorAll("input[name=csrfmiddlewaretoken]")) token.remove();
  for (const ticking of copy.querySelectorAll(TICKING)) ticking.textContent = "";
  return copy.outerHTML;
}

function tick(old, fresh) {
  const texts = [...fresh.querySelectorAll(TICKING)].map((element) => element.textContent);
  old.querySelectorAll(TICKING).forEach((element, place) => {
    if (element.textContent !== texts[place]) element.textContent = texts[place];
  });
}

/* --- open, scrolled and focused elements, and the reading position ----------------------------------------------- */

function habits(element) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  return {
    opened: [...element.querySelectorAll("details[open][id]")].map((details) => details.id),
    scrolled: [...element.querySelectorAll(".scroll")].map((box) => box.scrollLeft),
    focused,
    place: focused ? [...element.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1,
    reading: readingPlace(element),
  };
}

/** The heading being read, and its distance from the top; null if the start of the element is in view, because it may
    grow downwards. */
function readingPlace(element) {
  if (element.getBoundingClientRect().top >= 0) return null;
  const headings = [...element.querySelectorAll("h2[id]")].map((heading) => [heading.id, heading.getBoundingClientRect().top]);
  const [id, top] = headings.find(([, at]) => at >= 0 && at < window.innerHeight) ?? headings.findLast(([, at]) => at < 0) ?? [];
  return id ? { id, top } : null;
}

function restore(element, { opened, scrolled, focused, place, reading }) {
  for (const id of opened) element.querySelector(`details#${CSS.escape(id)}`)?.setAttribute("open", "");
  element.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
  if (focused && document.activeElement !== focused) refocus(element, focused, place);
  const heading = reading && document.getElementById(reading.id);
  if (heading) window.scrollBy({ top: heading.getBoundingClientRect().top - reading.top, behavior: "instant" });
}

function refocus(element, focused, place) {
  const candidates = [...element.querySelectorAll(FOCUSABLE)];
  const address = focused.getAttribute("href");
  const same = element.contains(focused) ? focused
    : focused.id ? document.getElementById(focused.id)
    : address ? candidates.find((candidate) => candidate.getAttribute("href") === address)
    : candidates[place];
  same?.focus({ preventScroll: true });
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

function say(name) {
  if (!connection) return;
  const words = name ? connection.dataset[name] : "";
  if (connection.textContent !== words) connection.textContent = words;
  connection.hidden = !name;
}

function tell(old, fresh) {
  const { liveTitle, liveIcon, liveAnnounce } = fresh.dataset;
  if (liveAnnounce && liveAnnounce !== old.dataset.liveAnnounce && announcer) announcer.textContent = liveAnnounce;
  if (liveTitle) document.title = liveTitle;
  if (liveIcon) document.querySelector("link[rel=icon]").setAttribute("href", liveIcon);
}

/** live, reconnecting, paused, over (signed out, gone) or final. */
function stateNow() {
  const states = [...document.querySelectorAll("[data-live][id]")].map(about);
  if (states.some((state) => state.over)) return "over";
  if (!running().length) return "final";
  if (document.hidden) return "paused";
  return states.some((state) => state.failures) ? "reconnecting" : "live";
}

function showState() {
  if (!indicator || !known.size) return;
  const state = stateNow();
  const seconds = Math.floor((Date.now() - Math.max(...[...known.values()].map(({ seen }) => seen))) / 1000);
  const words = indicator.getAttribute(`data-say-${state}`).replace("{seconds}", seconds);
  indicator.dataset.liveState = state;
  const place = indicator.querySelector("span");
  if (place.textContent !== words) place.textContent = words;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

function pauseAfter(failures, trigger) {
  const every = Number(/every (\d+)ms/.exec(trigger)?.[1]) || 2000;
  return Math.min(every * 2 ** Math.min(failures, 3), Math.max(every, LONGEST_PAUSE_MS));
}

function giveUp(element, name) {
  about(element).over = name;
  say(name);
  showState();
}

function failed({ target: element, detail }) {
  if (!isLive(element)) return;
  if (detail.xhr.status === 404) { giveUp(element, "gone"); return; }
  const state = about(element);
  state.failures += 1;
  const asked = Number(detail.xhr.getResponseHeader("Retry-After")) * 1000;
  state.notBefore = Date.now() + Math.max(asked || 0, pauseAfter(state.failures, element.getAttribute("hx-trigger")));
  say("lost");
  showState();
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isLive(event.target)) return;
  const state = about(event.target);
  if (document.hidden || state.over || Date.now() < state.notBefore) event.preventDefault();
});

for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) document.addEventListener(name, failed);

document.addEventListener("htmx:beforeSwap", (event) => {
  const old = event.target;
  const { xhr, pathInfo, serverResponse, isError } = event.detail;
  if (!isLive(old) || isError) return;
  event.detail.shouldSwap = false;
  const asked = new URL(pathInfo.finalRequestPath, document.baseURI);
  if (new URL(xhr.responseURL).pathname !== asked.pathname) { giveUp(old, "signedOut"); return; }
  const fresh = new DOMParser().parseFromString(serverResponse, "text/html").getElementById(old.id);
  if (!fresh || !isLive(fresh)) { failed({ target: old, detail: event.detail }); return; }
  const state = about(old);
  Object.assign(state, { failures: 0, notBefore: 0, seen: Date.now() });
  say("");
  tell(old, fresh);
  const source = sourceOf(fresh);
  if (source === state.source) {
    tick(old, fresh);
  } else {
    Object.assign(state, { source, habits: habits(old) });
    event.detail.shouldSwap = true;
  }
  showState();
});

document.addEventListener("htmx:afterSwap", ({ target: fresh }) => {
  const state = isLive(fresh) && about(fresh);
  if (!state?.habits) return;
  restore(fresh, state.habits);
  delete state.habits;
  showState();
});

document.addEventListener("visibilitychange", () => {
  showState();
  if (!document.hidden) for (const element of running()) window.htmx.trigger(element, "live:now");
});

document.querySelectorAll("[data-live][id]").forEach(about);
if (known.size) {
  showState();
  setInterval(showState, 1000);
}
