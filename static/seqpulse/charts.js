/* Read charts: one crosshair over all charts of a page, by mouse, finger or arrow keys; drag to zoom; CSV of what is shown.

   <… data-charts data-zone="Europe/Paris" [data-since data-until]> holds <svg data-points="x,time,value[,lowest,highest];…"
   data-unit data-width> in figures with an element .chart-read. Times are seconds since 1970, x is of data-width. */

const SVG = "http://www.w3.org/2000/svg";
const LEAST_DRAG = 0.02;
const language = document.documentElement.lang || "en";
const announcer = document.querySelector("[data-live-announcer]");
let drag = null;

const holder = (svg) => svg.closest("[data-charts]");
const chartsOf = (area) => [...area.querySelectorAll("svg[data-points]")].filter((svg) => svg.checkVisibility());
const nameOf = (svg) => svg.closest("figure").querySelector(".chart-name").textContent;

function pointsOf(svg) {
  return svg.dataset.points.split(";").filter(Boolean).map((text) => {
    const [x, at, value, low, high] = text.split(",").map(Number);
    return { x, at, value, low, high };
  });
}

function quantity(value, unit) {
  const percent = unit === "%";
  const text = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(percent ? value * 100 : value);
  return unit ? `${text}\u00a0${unit}` : text;
}

function moment(at, zone) {
  const how = { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23", timeZone: zone };
  try {
    return new Intl.DateTimeFormat(language, how).format(at * 1000);
  } catch {
    return new Intl.DateTimeFormat(language, { ...how, timeZone: "UTC" }).format(at * 1000);
  }
}

function inWords(point, svg) {
  const { unit } = svg.dataset;
  const spread = point.low < point.high ? ` (${quantity(point.low, unit)} – ${quantity(point.high, unit)})` : "";
  return `${moment(point.at, holder(svg).dataset.zone)} · ${quantity(point.value, unit)}${spread}`;
}

const nearest = (points, by, to) => points.reduce((best, one) => (Math.abs(one[by] - to) < Math.abs(best[by] - to) ? one : best));

/** The horizontal place of a pointer on the chart, in its own coordinates. */
function placeOf(svg, event) {
  const box = svg.getBoundingClientRect();
  return ((event.clientX - box.left) / box.width) * Number(svg.dataset.width);
}

/** Draw an element of this class over the chart, or move it. */
function draw(svg, kind, name, attributes) {
  const found = svg.querySelector(`:scope > .${name}`) ?? svg.appendChild(document.createElementNS(SVG, kind));
  for (const [attribute, value] of Object.entries({ class: name, ...attributes })) found.setAttribute(attribute, value);
}

function crosshair(svg, x) {
  const isWide = svg.dataset.width === "1000";
  const at = isWide ? `${x / 10}%` : x;
  draw(svg, "line", "crosshair", { x1: at, x2: at, ...(isWide ? { y1: 0, y2: "95.7%" } : { y1: 14, y2: 170 }) });
}

/** Show the samples of this time in all charts of the page. */
function show(area, at) {
  for (const svg of chartsOf(area)) {
    const points = pointsOf(svg);
    if (!points.length) continue;
    const point = nearest(points, "at", at);
    crosshair(svg, point.x);
    const figure = svg.closest("figure");
    figure.querySelector(".chart-read").textContent = inWords(point, svg);
    figure.classList.add("reading");
  }
}

function hide(area) {
  for (const found of area.querySelectorAll(".crosshair")) found.remove();
  for (const found of area.querySelectorAll("figure.reading")) {
    found.classList.remove("reading");
    found.querySelector(".chart-read").textContent = "";
  }
}

const chartAt = (event) => event.target.closest?.("[data-charts] svg[data-points]");

document.addEventListener("pointermove", (event) => {
  const svg = drag?.svg ?? chartAt(event);
  if (!svg) return;
  const points = pointsOf(svg);
  if (points.length) show(holder(svg), nearest(points, "x", placeOf(svg, event)).at);
  if (drag) select(event);
});
document.addEventListener("pointerout", (event) => {
  const svg = chartAt(event);
  if (svg && !drag && !svg.contains(event.relatedTarget) && document.activeElement !== svg) hide(holder(svg));
});

document.addEventListener("keydown", (event) => {
  const svg = chartAt(event);
  if (!svg) return;
  const points = pointsOf(svg);
  if (!points.length) return;
  if (event.key === "Escape") return hide(holder(svg));
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -points.length, End: points.length }[event.key];
  if (!step) return;
  event.preventDefault();
  const now = svg.dataset.read === undefined ? (step > 0 ? -1 : points.length) : Number(svg.dataset.read);
  const place = Math.max(0, Math.min(points.length - 1, now + step));
  svg.dataset.read = place;
  show(holder(svg), points[place].at);
  if (announcer) announcer.textContent = `${nameOf(svg)}: ${inWords(points[place], svg)}`;
});
document.addEventListener("focusout", (event) => {
  const svg = chartAt(event);
  if (svg) hide(holder(svg));
});

/* --- zoom, where the page can show other times -------------------------------------------------------------------- */

document.addEventListener("pointerdown", (event) => {
  const svg = chartAt(event);
  if (!svg || event.button !== 0 || event.pointerType === "touch" || !holder(svg).dataset.since) return;
  drag = { svg, from: placeOf(svg, event), to: null };
  event.preventDefault();
});

function select(event) {
  drag.to = Math.max(0, Math.min(1000, placeOf(drag.svg, event)));
  const [left, right] = [drag.from, drag.to].sort((one, other) => one - other);
  const place = { x: `${left / 10}%`, width: `${(right - left) / 10}%`, y: 0, height: "95.7%" };
  for (const svg of chartsOf(holder(drag.svg))) draw(svg, "rect", "selected", place);
}

document.addEventListener("pointerup", () => {
  if (!drag) return;
  const { svg, from, to } = drag;
  drag = null;
  const area = holder(svg);
  for (const found of area.querySelectorAll(".selected")) found.remove();
  if (to === null || Math.abs(to - from) < 1000 * LEAST_DRAG) return svg.focus({ preventScroll: true });
  const [since, until] = [Number(area.dataset.since), Number(area.dataset.until)];
  const times = [from, to].sort((one, other) => one - other).map((x) => Math.round(since + (x / 1000) * (until - since)));
  if (times[1] - times[0] >= 60) location.assign(`?since=${times[0]}&until=${times[1]}`);
});

/* --- CSV ---------------------------------------------------------------------------------------------------------- */

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-charts-csv]");
  if (!button) return;
  const charts = chartsOf(holder(button));
  const rows = new Map();
  charts.forEach((svg, column) => {
    for (const point of pointsOf(svg)) {
      if (!rows.has(point.at)) rows.set(point.at, Array(charts.length).fill(""));
      rows.get(point.at)[column] = point.value;
    }
  });
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = [["time", ...charts.map(nameOf)].map(quoted).join(",")];
  for (const [at, values] of [...rows].sort(([one], [other]) => one - other)) {
    lines.push([new Date(at * 1000).toISOString(), ...values].join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  link.download = button.dataset.chartsCsv;
  link.click();
  URL.revokeObjectURL(link.href);
});

const reveal = () => document.querySelectorAll("[data-charts-csv], [data-charts-hint]").forEach((one) => { one.hidden = false; });
document.addEventListener("htmx:afterSwap", reveal);
reveal();
