/* Copy buttons: <button hidden data-copy="ID" data-copied="Copied" data-failed="…"> copies the text of the element with
   that id and confirms it, on the button and to screen readers. Without scripts they stay hidden.

   Elements with data-secret are removed when the page is left, so that the browser's cache shows no secret. */

const SHOWN_MS = 2500;
const announcer = document.querySelector("[data-live-announcer]");

/** Without access to the clipboard (plain HTTP) the text is selected instead. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    return true;
  } catch {
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    return false;
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.querySelector("[data-label]");
  const words = label.textContent;
  let timer = 0;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const done = await copy(document.getElementById(button.dataset.copy));
    label.textContent = done ? button.dataset.copied : button.dataset.failed;
    button.classList.toggle("copied", done);
    if (announcer) announcer.textContent = label.textContent;
    clearTimeout(timer);
    timer = setTimeout(() => {
      label.textContent = words;
      button.classList.remove("copied");
      if (announcer) announcer.textContent = "";
    }, SHOWN_MS);
  });
}

addEventListener("pagehide", () => {
  for (const secret of document.querySelectorAll("[data-secret]")) secret.textContent = "";
});
