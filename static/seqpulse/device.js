/* Say in a cookie in which time zone this device is, so that pages show its times from the start. The user's own choice
   in the settings goes first (seqpulse/preferences.py). */

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const { path = "/" } = document.querySelector("meta[name=device-zone]")?.dataset ?? {};
const secure = location.protocol === "https:" ? "; secure" : "";
if (zone) document.cookie = `device_zone=${zone}; path=${path}; max-age=31536000; samesite=lax${secure}`;
