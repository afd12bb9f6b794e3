/* Show errors of passkeys on the page; django-allauth's script only logs them to the console. */

document.addEventListener("allauth.error", (event) => {
  const place = document.getElementById("passkey_failed");
  if (!place) return;
  event.preventDefault();
  place.textContent = place.dataset.text;
  place.hidden = false;
});
