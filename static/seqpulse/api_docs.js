// Swagger UI is dark under html.dark-mode. The theme of the user decides, else the device, also when it changes.
"use strict";

const page = document.documentElement;
const device = matchMedia("(prefers-color-scheme: dark)");
const choose = () => page.classList.toggle("dark-mode", page.dataset.theme ? page.dataset.theme === "dark" : device.matches);
device.addEventListener("change", choose);
choose();
