/* Keeps an element up to date without loading the page again.

   <div id="live" data-live="running" data-live-every="2000" data-live-url="…">: the address answers with the same
   element anew; it is asked again until it says data-live="done". Optional: data-live-title (for the tab) and
   data-live-announce (read out when it changes). An element with an id and data-live-keep stays as it is, once there:
   a form that a person is filling in. */

const LONGEST_PAUSE_MS = 15000;
const PATIENCE_MS = 10000;

const connection = document.querySelector("[data-live-connection]");
const announcer = document.querySelector("[data-live-announcer]");

function say(name) {
  if (!connection) return;
  connection.textContent = name ? connection.dataset[name] : "";
  connection.hidden = !name;
}

/** The element as it stands, without what every answer has anew: the tokens in forms. */
function sourceOf(element) {
  const copy = element.cloneNode(true);
  for (const form of copy.querySelectorAll("[data-live-keep]")) form.remove();
  return copy.outerHTML;
}

/** What a person has opened, scrolled, focused or filled in survives the exchange. */
function replace(old, fresh) {
  const opened = [...old.querySelectorAll("details[open][id]")].map((element) => element.id);
  const scrolled = [...old.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const place = focused ? [...old.querySelectorAll("a, button, summary, [tabindex]")].indexOf(focused) : -1;
  const address = focused?.getAttribute("href");
  for (const kept of old.querySelectorAll("[data-live-keep][id]")) {
    fresh.querySelector(`#${CSS.escape(kept.id)}`)?.replaceWith(kept);
  }
  old.replaceWith(fresh);
  for (const id of opened) fresh.querySelector(`details#${CSS.escape(id)}`)?.setAttribute("open", "");
  fresh.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolled[index] ?? 0; });
  if (!focused) return;
  if (fresh.contains(focused)) { focused.focus({ preventScroll: true }); return; }
  const candidates = [...fresh.querySelectorAll("a, button, summary, [tabindex]")];
  const same = address ? candidates.find((element) => element.getAttribute("href") === address) : candidates[place];
  same?.focus({ preventScroll: true });
}

function show(old, fresh) {
  if (fresh.dataset.liveAnnounce && fresh.dataset.liveAnnounce !== old.dataset.liveAnnounce && announcer) {
    announcer.textContent = fresh.dataset.liveAnnounce;
  }
  if (fresh.dataset.liveTitle) document.title = fresh.dataset.liveTitle;
  const source = sourceOf(fresh);
  if (source !== old.dataset.liveSource) {
    replace(old, fresh);
    fresh.dataset.liveSource = source;
    return fresh;
  }
  return old;
}

/** The element anew; null where there is nothing to wait for any more. Throws while the connection is lost. */
async function ask(url) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const response = await fetch(url, { signal, credentials: "same-origin", cache: "no-store" });
  if (response.redirected) { say("signedOut"); return null; }
  if (response.status === 404) { say("gone"); return null; }
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const parsed = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = parsed.querySelector("[data-live]");
  if (!fresh) throw new Error("not the fragment");
  return document.adoptNode(fresh);
}

/** Resolves after the pause, and not before the page is looked at. */
async function pause(milliseconds) {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  if (!document.hidden) return;
  await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

async function keepFresh(element) {
  let current = element;
  let failures = 0;
  while (current.dataset.live === "running") {
    const every = Number(current.dataset.liveEvery) || 2000;
    await pause(Math.min(every * 2 ** Math.min(failures, 3), Math.max(every, LONGEST_PAUSE_MS)));
    try {
      const fresh = await ask(current.dataset.liveUrl);
      if (!fresh) return;
      current = show(current, fresh);
      failures = 0;
      say("");
    } catch {
      failures += 1;
      say("lost");
    }
  }
}

document.querySelectorAll("[data-live]").forEach(keepFresh);
