/* The keyboard: search (/ or Ctrl-K), help (?), rows (j, k), places (g and a letter). Never while something is typed. */

const search = document.getElementById("search-dialog");
const help = document.getElementById("keys-dialog");
const field = document.getElementById("search-q");
const PLACES = { o: "overview", d: "deployments", h: "hints", p: "projects" };
const WAITS_MS = 1500;
const ROWS = ".list tbody tr";
let afterG = 0;

const isTyping = (target) => target.isContentEditable || target.matches("input, textarea, select");

function openSearch() {
  if (search.open) return;
  search.showModal();
  field.select();
  field.dispatchEvent(new Event("search-opened"));
}

/** Move the focus within the results, or back into the field. */
function move(event, step) {
  const links = [field, ...search.querySelectorAll("#search-found a")];
  const place = links.indexOf(document.activeElement) + step;
  event.preventDefault();
  links[Math.max(0, Math.min(links.length - 1, place))].focus();
}

function row(step) {
  const links = [...document.querySelectorAll(ROWS)].map((one) => one.querySelector("a[href]")).filter(Boolean);
  const place = links.indexOf(document.activeElement);
  const next = links[place < 0 ? (step > 0 ? 0 : links.length - 1) : place + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function go(letter) {
  const link = document.querySelector(`[data-place=${PLACES[letter]}]`);
  if (link) location.assign(link.href);
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openSearch();
    return;
  }
  if (search.open) {
    if (event.key === "ArrowDown") move(event, 1);
    else if (event.key === "ArrowUp") move(event, -1);
    else if (event.key === "Enter" && document.activeElement === field) {
      // The first result, as far as there are any for what was typed.
      const first = search.querySelector("#search-found a");
      if (first && search.dataset.shows === field.value) {
        event.preventDefault();
        first.click();
      }
    }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || help.open) return;
  if (event.timeStamp - afterG < WAITS_MS && event.key in PLACES) {
    afterG = 0;
    go(event.key);
    return;
  }
  afterG = event.key === "g" ? event.timeStamp : 0;
  if (event.key === "/") {
    event.preventDefault();
    openSearch();
  } else if (event.key === "?") help.showModal();
  else if (event.key === "j") row(1);
  else if (event.key === "k") row(-1);
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id === "search-found") search.dataset.shows = field.value;
});
/* A click beside a dialog closes it. */
for (const dialog of [search, help]) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
document.querySelector("[data-opens-search]")?.addEventListener("click", (event) => {
  event.preventDefault();
  openSearch();
});
