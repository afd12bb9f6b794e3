/* Copy buttons: <button hidden data-copy="ID" data-copied="Copied" data-failed="…"> copies the text of the element with
   that id and confirms it, on the button and to screen readers. Without scripts they stay hidden.

   Elements with data-secret are removed when the page is left, so that the browser's cache shows no secret. */

const SHOWN_MS = 2500;
const announcer = document.querySelector("[data-live-announcer]");

/** Without access to the clipboard (plain HTTP) the text is selected instead; what is not shown is selected nowhere. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    return true;
  } catch {
    return copyBySelection(source);
  }
}

function copyBySelection(source) {
  const wasHidden = source.hidden;
  source.hidden = false;
  if (source.select) source.select();
  else getSelection().selectAllChildren(source);
  const done = document.execCommand("copy");
  source.hidden = wasHidden;
  return done;
}

const show = () => document.querySelectorAll("[data-copy][hidden]").forEach((button) => { button.hidden = false; });

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const label = button.querySelector("[data-label]");
  button.dataset.label ??= label.textContent;
  const done = await copy(document.getElementById(button.dataset.copy));
  label.textContent = done ? button.dataset.copied : button.dataset.failed;
  button.classList.toggle("copied", done);
  if (announcer) announcer.textContent = label.textContent;
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => {
    label.textContent = button.dataset.label;
    button.classList.remove("copied");
    if (announcer) announcer.textContent = "";
  }, SHOWN_MS);
});
/* Parts of live pages are replaced. */
document.addEventListener("htmx:afterSwap", show);
show();

addEventListener("pagehide", () => {
  for (const secret of document.querySelectorAll("[data-secret]")) secret.textContent = "";
});
