/* A form that changes something is sent once, however often its button is clicked: the answer to the second click would
   be shown, and what the first one showed this once would be lost. After a while it can be sent again: the first try
   may have been broken off. htmx sends its forms itself, and queues them. */

const WHILE_MS = 5000;
let sent = new WeakSet();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.getAttribute("method") !== "post") return;
  if (sent.has(form)) {
    event.preventDefault();
    return;
  }
  sent.add(form);
  setTimeout(() => sent.delete(form), WHILE_MS);
});

/* Back on a page that the browser has kept. */
window.addEventListener("pageshow", () => { sent = new WeakSet(); });
