/* Show the time in the selected time zone before it is saved, and offer the zone of the device. */

const select = document.querySelector("select[name=time_zone]");
const now = document.querySelector("[data-zone-now] strong");
const offer = document.querySelector("[data-zone-device]");
const device = Intl.DateTimeFormat().resolvedOptions().timeZone;

function show() {
  const zone = select.value || device;
  const text = { dateStyle: "long", timeStyle: "short", timeZone: zone };
  now.parentElement.lastChild.textContent = ` (${zone})`;
  now.textContent = new Intl.DateTimeFormat(document.documentElement.lang, text).format(new Date());
  offer.hidden = zone === device;
}

if (select && now && offer) {
  const known = [...select.options].some((option) => option.value === device);
  if (known) offer.querySelector("button").append(`: ${device}`);
  else offer.remove();
  offer.addEventListener("click", () => {
    select.value = device;
    show();
  });
  select.addEventListener("change", show);
  offer.hidden = select.value === device;
}
