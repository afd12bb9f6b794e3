/* What a person asks htmx for (filters, headings and pages of a list) and does not get: the browser goes to the address
   itself, which says what is wrong, or asks to sign in. What asks by itself is minded by live.js. */

const asksItself = (element) => element instanceof Element && element.matches("[data-live]");

function goThere({ target, detail }) {
  const address = detail.pathInfo?.finalRequestPath;
  if (address && !asksItself(target)) window.location.assign(address);
}

for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, goThere);

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, pathInfo, isError } = event.detail;
  if (asksItself(event.target) || isError) return;
  const asked = new URL(pathInfo.finalRequestPath, document.baseURI);
  if (new URL(xhr.responseURL).pathname === asked.pathname) return;
  event.detail.shouldSwap = false;
  goThere(event);
});
