/* If a request of the user through htmx fails (filters, headings and pages of a list), the browser opens its URL, which
   shows the error or the sign-in page. Elements that poll are handled by live.js. */

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
