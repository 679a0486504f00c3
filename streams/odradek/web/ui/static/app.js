// What every page has: theme, times in the reader's zone, keys, dialogs, live parts. Pages work without it.

import { $, all, decorateBy, fetchPart, isHeld, opensDialog, put, renew, throttle } from "./parts.js";
import { followChanges } from "./streams.js";

const pad = (value, length = 2) => String(value).padStart(length, "0");

// ---------------------------------------------------------------- times

// Kept in this browser: "utc", or times of its own zone. The button says which, with the offset at that time of the year.
const ZONE = "odradek.zone";
const inUtc = () => localStorage.getItem(ZONE) === "utc";
const offsetOf = (at) => (inUtc() ? 0 : -at.getTimezoneOffset());
const offsetText = (minutes) => `${minutes < 0 ? "-" : "+"}${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;

// A time as it is shown: its date, its clock to the second, its milliseconds.
function partsOf(at) {
  const [date, clock] = new Date(at.valueOf() + offsetOf(at) * 60000).toISOString().slice(0, -1).split("T");
  return { date, clock: clock.slice(0, 8), part: clock.slice(8) };
}

function drawZone() {
  const button = $("[data-zone]");
  if (!button) return;
  const minutes = offsetOf(new Date());
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  button.textContent = inUtc() || !minutes ? "UTC" : `UTC${offsetText(minutes).replace(/:00$/, "").replace(/([+-])0/, "$1")}`;
  button.title = `Times are in ${inUtc() ? "UTC" : `${name}, this browser's zone`}. Click: ${inUtc() ? name : "UTC"} (u)`;
}

function toggleZone() {
  localStorage.setItem(ZONE, inUtc() ? "local" : "utc");
  drawZone();
  decorate(document);
}

// A time that is copied alone brings its zone and its milliseconds: so the query box finds it.
document.addEventListener("copy", (event) => {
  const selection = getSelection();
  const text = String(selection).trim();
  const node = selection.rangeCount ? selection.getRangeAt(0).startContainer : null;
  const near = node?.nodeType === 1 ? node : node?.parentElement;
  const time = near?.closest("time") ?? all("time[datetime]", near ?? document).find((one) => one.textContent === text);
  if (!time || time.textContent !== text) return;
  const at = new Date(time.dateTime), { date, clock, part } = partsOf(at), minutes = offsetOf(at);
  event.clipboardData.setData("text/plain", `${date}T${clock}${part}${minutes ? offsetText(minutes) : "Z"}`);
  event.preventDefault();
});

// What the server writes as text.duration does.
function durationText(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
  if (minutes < 60) return `${minutes} m ${pad(seconds % 60)} s`;
  return hours < 24 ? `${hours} h ${pad(minutes % 60)} m` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// The server's clock, as this browser's stands to it.
const skew = Number(document.documentElement.dataset.now || Date.now()) - Date.now();

function tick() {
  if (document.hidden) return;
  const now = Date.now() + skew;
  for (const one of all("[data-since]")) one.textContent = durationText(now - one.dataset.since);
  for (const one of all("[data-ago]")) {
    const passed = now - one.dataset.ago;
    one.textContent = passed >= 0 ? `${durationText(passed)} ago` : `in ${durationText(-passed)}`;
  }
}

export function decorate(root) {
  for (const time of all("time[datetime]", root)) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const { date, clock, part } = partsOf(at);
    time.textContent = `${date} ${clock}${time.hasAttribute("data-precise") ? part : ""}`;
    time.title = time.dateTime;
  }
  for (const title of all("title[data-from]", root)) {
    const [from, to] = [title.dataset.from, title.dataset.to].map((ms) => partsOf(new Date(Number(ms))));
    const end = to.date === from.date ? to.clock.slice(0, 5) : `${to.date} ${to.clock.slice(0, 5)}`;
    title.textContent = title.textContent.replace(/^.*/, `${from.date} ${from.clock.slice(0, 5)} – ${end}`);
  }
  for (const mark of all("[data-tick]", root)) {
    if (mark.textContent.includes(":")) mark.textContent = partsOf(new Date(Number(mark.dataset.tick))).clock.slice(0, 5);
  }
}

// ---------------------------------------------------------------- theme

function toggleTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const theme = dark ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  document.cookie = `odradek_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
}

// ---------------------------------------------------------------- dialogs

const sheet = $("#sheet");

async function openSheet(address) {
  const response = await fetchPart(address);
  if (response.lost) return;
  put(sheet, `<form method="dialog" class="row"><span class="grow"></span><button class="bare" aria-label="Close">✕</button></form>${await response.text()}`);
  if (!sheet.open) { opensDialog(); sheet.showModal(); }
  $("[autofocus]", sheet)?.focus();
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = event.target.closest("a[data-dialog]");
  if (link) {
    event.preventDefault();
    openSheet(event.target.closest("[data-event]")?.dataset.event ?? link.href); // a part of a row may have an event of its own
  } else if (event.target.closest("[data-close]") && sheet.open) {
    event.preventDefault();
    sheet.close();
  } else if (event.target === sheet || event.target === $("#help")) {
    event.target.close(); // the backdrop
  } else if (event.target.closest("[data-theme-toggle]")) {
    toggleTheme();
  } else if (event.target.closest("[data-zone]")) {
    toggleZone();
  } else if (event.target.closest("[data-help]")) {
    opensDialog();
    $("#help").showModal();
  }
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// A menu closes when the focus leaves it for something else of the page.
document.addEventListener("focusout", (event) => {
  const menu = event.target.closest?.("details.menu[open]");
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
});

function closeMenu() {
  const menu = $("dialog[open]") ? null : $("details.menu[open]");
  if (!menu) return false;
  menu.open = false;
  if (menu.contains(document.activeElement)) $("summary", menu).focus();
  return true;
}

// A form in the dialog: its errors stay in the dialog, its success is the page it leads to.
sheet.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  event.preventDefault();
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    const response = await fetchPart(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (response.lost) return; // what was typed stays
    if (response.redirected && response.ok) location.assign(response.url);
    else put(sheet, await response.text());
  } finally {
    if (button) button.disabled = false;
  }
});

// Forms that only look: their answer is put beside them, and stands in the address.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-part]");
  if (!form) return;
  event.preventDefault();
  const parameters = new URLSearchParams(new FormData(form));
  if (event.submitter?.name) parameters.set(event.submitter.name, event.submitter.value);
  const address = `${form.getAttribute("action")}?${parameters}`;
  const field = form.elements.namedItem("type");
  if (event.submitter?.name === "type" && field instanceof RadioNodeList) field[0].value = event.submitter.value;
  const response = await fetchPart(address);
  if (response.lost) return;
  put($(form.dataset.part), await response.text());
  history.replaceState(null, "", address);
});

// ---------------------------------------------------------------- live parts

function live(element) {
  const every = Number(element.dataset.every || 1000);
  const refresh = throttle(async () => {
    if (document.hidden || isHeld(element, refresh)) return;
    try {
      const response = await fetchPart(element.dataset.source || location.href);
      if (response.lost || isHeld(element, refresh)) return;
      if (response.ok && "until" in element.dataset) location.reload(); // what it waited for is another page
      else if (response.ok || "until" in element.dataset) renew(element, await response.text());
    } finally { again(); }
  }, every);
  // A part that says when it wants to be looked at again, whatever changes: something is under way.
  let soon = 0;
  function again() {
    const wants = $("[data-again]", element);
    clearTimeout(soon);
    if (wants) soon = setTimeout(refresh, Number(wants.dataset.again));
  }
  again();
  if (element.dataset.live === "poll") {
    const timer = setInterval(() => { if ($("[data-finished]", element)) clearInterval(timer); else refresh(); }, every);
    return;
  }
  followChanges(element.dataset.live, refresh);
  // Lags move without anybody coming or going, and nobody tells that there is no more news.
  const besides = Number(element.dataset.besides || (element.dataset.live === "members" ? Math.max(every, 5000) : 0));
  if (besides) setInterval(refresh, besides);
}

// ---------------------------------------------------------------- keys

const rows = () => all("[data-row]").filter((row) => row.offsetParent !== null);

function move(step) {
  const list = rows();
  if (!list.length) return;
  const now = list.findIndex((row) => row.classList.contains("cursor"));
  const next = list[Math.max(0, Math.min(list.length - 1, now < 0 ? (step > 0 ? 0 : list.length - 1) : now + step))];
  list[now]?.classList.remove("cursor");
  next.classList.add("cursor");
  next.scrollIntoView({ block: "nearest" });
  cursor = next.dataset.row;
  const target = next.matches("a") ? next : next.matches("details") ? $("summary", next) : $(".main a", next) ?? $("a[href]", next);
  target?.focus({ preventScroll: true });
}

// Keys of links: nearer, further, along. True where there is no such link: the key then does what it does anyway.
function follow(key) {
  const link = $(`a[data-zoom="${key}"]`);
  return link ? void link.click() : true;
}

function turn(rel) {
  const link = $(`.pager a[rel=${rel}]`);
  return link ? void link.click() : true;
}

let cursor = "";
let going = false;
const PLACES = { r: "/runs", d: "/dashboard", q: "/queues", s: "/services", l: "/dead-letters" };

document.addEventListener("part", () => {
  if (cursor) all("[data-row]").find((row) => row.dataset.row === cursor)?.classList.add("cursor");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape" && !event.defaultPrevented && closeMenu()) { event.preventDefault(); return; }
  const typing = event.target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
  if (typing) {
    if (event.key === "Escape" && !event.defaultPrevented) event.target.blur();
    return;
  }
  if (going) {
    going = false;
    if (PLACES[event.key]) location.assign(PLACES[event.key]);
    return;
  }
  const row = $("[data-row].cursor");
  const acts = {
    "/": () => $("[data-focus]")?.focus(),
    "?": () => { opensDialog(); $("#help").showModal(); },
    j: () => move(1),
    k: () => move(-1),
    n: () => turn("next"),
    p: () => turn("prev"),
    t: toggleTheme,
    u: toggleZone,
    g: () => { going = true; setTimeout(() => { going = false; }, 1200); },
    x: () => $("input[name=run]", row ?? document.createElement("i"))?.click(),
    "+": () => follow("+"), "=": () => follow("+"), "-": () => follow("-"), 0: () => follow("0"),
    ArrowLeft: () => follow("ArrowLeft"), ArrowRight: () => follow("ArrowRight"),
    Enter: () => { if (row?.dataset.href && !event.target.closest("a, button, summary")) location.assign(row.dataset.href); else return true; },
  };
  if (acts[event.key] && !sheet.open && !$("#help").open && acts[event.key]() !== true) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button, input, label, summary") && !String(getSelection())) location.assign(row.dataset.href);
});

// On a narrow page the row of pages is scrolled: to where it is, and its end fades while there is more.
const nav = $(".nav");
if (nav) {
  const here = $("[aria-current]", nav);
  if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - (nav.clientWidth - here.clientWidth) / 2;
  const faded = () => nav.classList.toggle("all", nav.scrollLeft + nav.clientWidth >= nav.scrollWidth - 2);
  nav.addEventListener("scroll", faded, { passive: true });
  addEventListener("resize", faded);
  faded();
}

decorateBy(decorate);
drawZone();
decorate(document);
setInterval(tick, 1000);
all("[data-live]").forEach(live);
