/* Keep elements up to date without reloading the page. htmx requests and swaps; this module preserves what the user does.

   An element takes part with the attributes written by templates/layout/_live.html:
   <div id="…" data-live="running" hx-get="…" hx-trigger="every 2s, live:now" hx-swap="outerHTML …" hx-sync="this:drop">.
   The URL answers with the same element, until it has data-live="done" and no trigger.

   With data-live-events, a stream of events (data-live-since: when the element was made) says when something has changed,
   and nothing is requested until then. While the stream is broken, the element is requested slowly; without the
   attribute, as often as its trigger says.

   On the element, all optional: data-live-title and data-live-icon are for the browser's tab, data-live-announce is
   announced when it changes. Inside it: elements with hx-preserve and an id stay, such as a form being filled in; changes
   of <time> and [data-live-text] alone cause no swap. On the page: [data-live-state] (layout/_live_state.html) shows the
   state of the connection, [data-live-connection] and [data-live-announcer] (base_project.html) announce it. */

const LONGEST_PAUSE_MS = 15000;
/* With a stream: time between two requests, at least; while it is broken; and for texts that count down. A stream is
   broken if it is silent for longer than SILENT_MS: the server sends a sign of life every 20 s. */
const SHORTEST_PAUSE_MS = 1000;
const WITHOUT_STREAM_MS = 15000;
const COUNTDOWN_MS = 60000;
const SILENT_MS = 50000;
const LONGEST_REFUSAL_MS = 300000;
/* Many pages hear of a change at the same moment. */
const SPREAD_MS = 200;
const TICKING = "time, [data-live-text]";
const FOCUSABLE = "a, button, summary, input, select, textarea, [tabindex]";

const connection = document.querySelector("[data-live-connection]");
const announcer = document.querySelector("[data-live-announcer]");
const indicator = document.querySelector("[data-live-state]");

/* By id of the element: current content (source), time of the last answer (seen), consecutive failures, earliest time of
   the next request (notBefore), reason of giving up (over). With a stream: the EventSource (stream), time of its last
   event (heard), whether there is something new (changed), consecutive refusals, earliest time of the next attempt
   (openAfter). */
const known = new Map();

/** The state of an element, also of one added later by another swap. */
function about(element) {
  if (!known.has(element.id)) {
    const stream = { stream: null, heard: 0, changed: false, refusals: 0, openAfter: 0 };
    known.set(element.id, { source: sourceOf(element), seen: Date.now(), failures: 0, notBefore: 0, over: "", ...stream });
  }
  return known.get(element.id);
}

const isLive = (element) => element instanceof Element && element.matches("[data-live][id]");
const isRunning = (element) => element.dataset.live === "running" && !about(element).over;
const running = () => [...document.querySelectorAll("[data-live][id]")].filter(isRunning);

/** The current element, without parts that differ in every answer: tokens in forms, and elapsed times. */
function sourceOf(element) {
  const copy = element.cloneNode(true);
  copy.removeAttribute("data-live-since");
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
  const name = state === "live" && seconds > 60 ? "connected" : state;
  const words = indicator.getAttribute(`data-say-${name}`).replace("{seconds}", seconds);
  indicator.dataset.liveState = state;
  const place = indicator.querySelector("span");
  if (place.textContent !== words) place.textContent = words;
}

/* --- elapsed times ----------------------------------------------------------------------------------------------- */

/* How far the clock of this machine is behind the server's, and the words by seconds of the unit, largest first. */
const behind = Number(indicator?.dataset.now) * 1000 - Date.now();
const AGO = [86400, 3600, 60, 1].map((unit) => [unit, indicator?.getAttribute(`data-ago-${unit}`)]);

/** Write elapsed times as the server does (filter `ago`): nothing is requested while a stream is silent. */
function showElapsed() {
  if (!indicator) return;
  for (const element of running()) {
    for (const time of element.querySelectorAll("time[data-ago]")) {
      const seconds = Math.floor((Date.now() + behind - Date.parse(time.dateTime)) / 1000);
      const [unit, words] = AGO.find(([unit]) => seconds >= unit) ?? [];
      const text = unit === undefined || seconds < 5 ? indicator.dataset.justNow : words.replace("{n}", Math.floor(seconds / unit));
      if (time.textContent !== text) time.textContent = text;
    }
  }
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

function pauseAfter(failures, trigger) {
  const every = Number(/every (\d+)ms/.exec(trigger)?.[1]) || 2000;
  return Math.min(every * 2 ** Math.min(failures, 3), Math.max(every, LONGEST_PAUSE_MS));
}

function giveUp(element, name) {
  about(element).over = name;
  hangUp(about(element));
  say(name);
  showState();
}

function failed({ target: element, detail }) {
  if (!isLive(element)) return;
  if (detail.xhr.status === 404) { giveUp(element, "gone"); return; }
  const state = about(element);
  state.failures += 1;
  state.changed = true;
  const asked = Number(detail.xhr.getResponseHeader("Retry-After")) * 1000;
  state.notBefore = Date.now() + Math.max(asked || 0, pauseAfter(state.failures, element.getAttribute("hx-trigger")));
  say("lost");
  showState();
}

/** Whether it is time for a request: with a stream, only after a change. */
function isDue(element) {
  const state = about(element);
  const now = Date.now();
  if (document.hidden || state.over || now < state.notBefore) return false;
  if (!element.dataset.liveEvents || state.changed) return true;
  const pause = !isConnected(state) ? WITHOUT_STREAM_MS : element.querySelector("[data-live-text]") ? COUNTDOWN_MS : Infinity;
  return now >= state.seen + pause;
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isLive(event.target)) return;
  if (!isDue(event.target)) { event.preventDefault(); return; }
  about(event.target).changed = false;
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
    if (fresh.dataset.liveSince) old.dataset.liveSince = fresh.dataset.liveSince;
  } else {
    Object.assign(state, { source, habits: habits(old) });
    event.detail.shouldSwap = true;
  }
  // It changed again while the answer was under way.
  if (state.changed) askFor(old.id);
  showState();
});

document.addEventListener("htmx:afterSwap", ({ target: fresh }) => {
  const state = isLive(fresh) && about(fresh);
  if (!state?.habits) return;
  restore(fresh, state.habits);
  delete state.habits;
  showState();
});

/* --- streams of events ------------------------------------------------------------------------------------------- */

const isConnected = (state) => state.stream !== null && Date.now() < state.heard + SILENT_MS;

function hangUp(state) {
  state.stream?.close();
  Object.assign(state, { stream: null, heard: 0 });
}

/** Request the element now, or as soon as it may be requested again. */
function askFor(id) {
  const state = known.get(id);
  state.changed = true;
  const earliest = Math.max(state.seen + SHORTEST_PAUSE_MS, state.notBefore) - Date.now();
  setTimeout(() => {
    const element = document.getElementById(id);
    if (state.changed && element && isRunning(element)) window.htmx.trigger(element, "live:now");
  }, Math.max(0, earliest) + Math.random() * SPREAD_MS);
}

/** Open the stream of an element that has one. A browser opens it again by itself, unless the server refuses it. */
function listenTo(element) {
  const state = about(element);
  const { liveEvents, liveSince } = element.dataset;
  if (!liveEvents || state.stream || state.changed || Date.now() < state.openAfter) return;
  const stream = new EventSource(`${liveEvents}?since=${liveSince}`);
  state.stream = stream;
  stream.addEventListener("alive", () => { Object.assign(state, { heard: Date.now(), refusals: 0 }); });
  stream.addEventListener("changed", () => { state.heard = Date.now(); askFor(element.id); });
  stream.addEventListener("error", () => {
    state.heard = 0;
    if (stream.readyState !== EventSource.CLOSED) return;
    state.refusals += 1;
    state.openAfter = Date.now() + Math.min(LONGEST_PAUSE_MS * 2 ** state.refusals, LONGEST_REFUSAL_MS) * (0.5 + Math.random());
    hangUp(state);
  });
}

/** A browser allows few connections to a host: only pages that are looked at have a stream. */
function listen() {
  const listening = document.hidden ? [] : running();
  const ids = listening.map((element) => element.id);
  for (const [id, state] of known) if (!ids.includes(id)) hangUp(state);
  listening.forEach(listenTo);
}

document.addEventListener("visibilitychange", () => {
  listen();
  showState();
  if (document.hidden) return;
  for (const element of running()) {
    about(element).changed = true;
    window.htmx.trigger(element, "live:now");
  }
});

document.querySelectorAll("[data-live][id]").forEach(about);
if (known.size) {
  listen();
  showState();
  setInterval(() => { listen(); showState(); showElapsed(); }, 1000);
}
