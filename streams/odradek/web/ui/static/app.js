// What every page has: theme, times in the reader's zone, keys, dialogs, live parts. Pages work without it.

const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// ---------------------------------------------------------------- parts of pages

export async function fetchPart(address, options = {}) {
  const response = await fetch(address, { ...options, headers: { "X-Part": "1", Accept: "text/html", ...options.headers } });
  if (response.status === 401) location.reload();
  return response;
}

// Puts server-rendered HTML in place and tells everybody who decorates pages.
export function put(element, html) {
  element.innerHTML = html;
  decorate(element);
  element.dispatchEvent(new CustomEvent("part", { bubbles: true }));
}

const pad = (value) => String(value).padStart(2, "0");

export function decorate(root) {
  for (const time of all("time[datetime]", root)) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.textContent = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
    time.title = time.dateTime;
  }
  for (const tick of all("[data-tick]", root)) {
    if (!tick.textContent.includes(":")) continue;
    const at = new Date(Number(tick.dataset.tick));
    tick.textContent = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
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
  put(sheet, `<form method="dialog" class="row"><span class="grow"></span><button class="bare" aria-label="Close">✕</button></form>${await response.text()}`);
  if (!sheet.open) sheet.showModal();
  $("[autofocus]", sheet)?.focus();
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = event.target.closest("a[data-dialog]");
  if (link) {
    event.preventDefault();
    openSheet(link.href);
  } else if (event.target.closest("[data-close]") && sheet.open) {
    event.preventDefault();
    sheet.close();
  } else if (event.target === sheet || event.target === $("#help")) {
    event.target.close(); // the backdrop
  } else if (event.target.closest("[data-theme-toggle]")) {
    toggleTheme();
  } else if (event.target.closest("[data-help]")) {
    $("#help").showModal();
  }
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// A form in the dialog: its errors stay in the dialog, its success is the page it leads to.
sheet.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  event.preventDefault();
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    const response = await fetchPart(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
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
  put($(form.dataset.part), await response.text());
  history.replaceState(null, "", address);
});

// ---------------------------------------------------------------- live parts

const pulse = $("#pulse");
export const setPulse = (state) => { pulse.dataset.state = state; pulse.title = { live: "Live", lost: "Connection lost, trying again", idle: "Live updates" }[state]; };

// Runs `work` at most once in `everyMs`, once more after the last call.
export function throttle(work, everyMs) {
  let last = 0, timer = 0, busy = false;
  const run = async () => {
    timer = 0;
    if (busy) { timer = setTimeout(run, everyMs); return; }
    busy = true;
    try { await work(); } catch { /* the next change tries again */ } finally { busy = false; last = Date.now(); }
  };
  return () => { if (!timer) timer = setTimeout(run, Math.max(0, last + everyMs - Date.now())); };
}

function live(element) {
  const every = Number(element.dataset.every || 1000);
  const refresh = throttle(async () => {
    if (document.hidden || element.querySelector("details.menu[open]")) return;
    const response = await fetchPart(element.dataset.source || location.href);
    if (response.ok) put(element, await response.text());
  }, every);
  if (element.dataset.live === "poll") {
    const timer = setInterval(() => { if ($("[data-finished]", element)) clearInterval(timer); else refresh(); }, every);
    return;
  }
  const source = new EventSource(`/api/odradek/v1/changes?topics=${element.dataset.live}`);
  source.onopen = () => { setPulse("live"); refresh(); }; // what changed before the stream was there
  source.onerror = () => setPulse("lost");
  source.addEventListener(element.dataset.live, refresh);
  document.addEventListener("visibilitychange", refresh);
  addEventListener("pagehide", () => source.close());
  if (element.dataset.live === "members") setInterval(refresh, Math.max(every, 5000)); // lags move without anybody coming or going
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
  if (next.matches("a, details")) (next.matches("a") ? next : $("summary", next)).focus({ preventScroll: true });
}

let cursor = "";
let going = false;
const PLACES = { r: "/runs", d: "/dashboard", q: "/queues", s: "/services", l: "/dead-letters" };

document.addEventListener("part", () => {
  if (cursor) all("[data-row]").find((row) => row.dataset.row === cursor)?.classList.add("cursor");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
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
    "?": () => $("#help").showModal(),
    j: () => move(1),
    k: () => move(-1),
    t: toggleTheme,
    g: () => { going = true; setTimeout(() => { going = false; }, 1200); },
    x: () => $("input[name=run]", row ?? document.createElement("i"))?.click(),
    Enter: () => { if (row?.dataset.href && !event.target.closest("a, button, summary")) location.assign(row.dataset.href); else return true; },
  };
  if (acts[event.key] && !sheet.open && !$("#help").open && acts[event.key]() !== true) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button, input, label, summary") && !String(getSelection())) location.assign(row.dataset.href);
});

decorate(document);
all("[data-live]").forEach(live);
