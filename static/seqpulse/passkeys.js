/* Says what went wrong with a passkey on the page; django-allauth's script would only tell the console. */

document.addEventListener("allauth.error", (event) => {
  const place = document.getElementById("passkey_failed");
  if (!place) return;
  event.preventDefault();
  place.textContent = place.dataset.text;
  place.hidden = false;
});
