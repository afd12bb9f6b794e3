/* Submit a form once, however often its button is clicked: the answer to the second click would replace the first one,
   which may show a secret once. After a while it can be submitted again, because the first attempt may have been
   interrupted. htmx submits and queues its forms itself. */

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

/* Back on a page cached by the browser. */
window.addEventListener("pageshow", () => { sent = new WeakSet(); });
