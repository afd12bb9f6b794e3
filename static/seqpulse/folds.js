/* Remember which parts of a page are unfolded: <details id="…" data-remember>, by its id for all pages of the kind.
   Without storage (private windows) each page begins as it is sent. */

const KEY = "seqpulse-folds";

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function apply() {
  const folds = stored();
  for (const details of document.querySelectorAll("details[data-remember]")) {
    if (details.id in folds) details.open = folds[details.id];
  }
}

/** A link or the address may lead into a part that is folded. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target?.scrollIntoView();
}

document.addEventListener("click", (event) => {
  const details = event.target.closest?.("summary")?.parentElement;
  if (!details?.matches("[data-remember]")) return;
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...stored(), [details.id]: !details.open }));
  } catch { /* it is remembered for as long as the page is there */ }
});
document.addEventListener("htmx:afterSwap", apply);
addEventListener("hashchange", reveal);
addEventListener("beforeprint", () => document.querySelectorAll("details.fold").forEach((details) => { details.open = true; }));
apply();
reveal();
