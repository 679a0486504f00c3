// A history: stretches of rows come as they are scrolled to and go when they are far, views and filters change in place, events of an
// open run arrive as they happen.

import { decorate } from "./app.js";
import { fetchPart, isHeld, put, renew, throttle } from "./parts.js";
import { followRun, setPulse } from "./streams.js";

const panel = document.querySelector("#history");
const NARROW = matchMedia("(max-width: 900px)").matches;
const ROW = { timeline: 34, compact: NARROW ? 47 : 35, full: NARROW ? 47 : 35, json: 420 };
const NEAR = "1500px";

// ---------------------------------------------------------------- stretches

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chunk = entry.target;
    chunk.near = entry.isIntersecting;
    if (entry.isIntersecting) load(chunk);
    else if (chunk.loaded && !chunk.querySelector("details[open], :focus")) unload(chunk);
  }
}, { rootMargin: NEAR });

// What nobody has answered is asked for again while it is in sight, less and less often; at once when the server is heard of again.
const AGAIN_MIN = 500, AGAIN_MAX = 15000;
const passes = ({ lost, status }) => lost || status === 429 || status >= 500;

async function load(chunk) {
  if (chunk.loaded || chunk.loading) return;
  chunk.loading = true;
  clearTimeout(chunk.again);
  try {
    const response = await fetchPart(chunk.dataset.source);
    if (!response.ok) {
      if (!passes(response)) return;
      chunk.wait = Math.min(2 * (chunk.wait || AGAIN_MIN), AGAIN_MAX);
      chunk.again = setTimeout(() => { if (chunk.near && chunk.isConnected) load(chunk); }, chunk.wait);
      return;
    }
    chunk.wait = 0;
    const html = await response.text();
    if (!chunk.near) return;
    chunk.classList.remove("unloaded");
    chunk.style.height = "";
    put(chunk, html);
    chunk.loaded = true;
  } finally {
    chunk.loading = false;
  }
}

document.addEventListener("heard", () => {
  for (const chunk of panel?.querySelectorAll(".chunk") ?? []) {
    chunk.wait = 0;
    if (chunk.near) load(chunk);
  }
});

function unload(chunk) {
  chunk.style.height = `${chunk.offsetHeight}px`;
  chunk.classList.add("unloaded");
  chunk.replaceChildren();
  chunk.loaded = false;
}

function watch() {
  const view = panel.querySelector("[data-history]")?.dataset.view;
  for (const chunk of panel.querySelectorAll(".chunk")) {
    chunk.loaded = !chunk.classList.contains("unloaded");
    if (!chunk.loaded) chunk.style.height = `${Number(chunk.dataset.count) * ROW[view]}px`;
    observer.observe(chunk);
  }
}

// ---------------------------------------------------------------- views and filters

// What of an address says how a history is looked at; the page's own address says it too, so that it can be kept and sent.
const CHOICES = ["view", "text", "category", "order", "since", "until"];
const choices = (search) => new URLSearchParams([...new URLSearchParams(search)].filter(([name, value]) => CHOICES.includes(name) && value));
let address = panel?.dataset.source ?? "", typing = 0;
if (String(choices(location.search))) address += `?${choices(location.search)}`;

async function show(next) {
  address = next;
  const kept = choices(new URL(next, location.href).search);
  if (kept.get("view") === "timeline") kept.delete("view");
  history.replaceState(null, "", location.pathname + (String(kept) ? `?${kept}` : ""));
  const response = await fetchPart(next);
  if (next !== address) return; // something else was chosen meanwhile
  if (response.lost) { // nobody answers: what is shown stays, and where nothing is, it is asked for again
    if (!panel.querySelector("[data-history]")) setTimeout(() => { if (next === address) show(next); }, 2 * AGAIN_MIN);
    return;
  }
  const focus = document.activeElement?.name === "text" && panel.contains(document.activeElement);
  const at = focus ? document.activeElement.selectionStart : 0;
  put(panel, await response.text());
  watch();
  if (focus) {
    const field = panel.querySelector("input[name=text]");
    field?.focus();
    field?.setSelectionRange(at, at);
  }
}

panel?.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view], a[data-zoom]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const key = document.activeElement === link ? link.dataset.zoom : "";
  const next = new URL(link.href), field = panel.querySelector("input[name=text]");
  clearTimeout(typing);
  if (field) next.searchParams.set("text", field.value); // what was typed a moment ago
  show(next.pathname + next.search).then(() => { if (key) panel.querySelector(`[data-zoom="${key}"]`)?.focus(); });
});

// ---------------------------------------------------------------- a part of the time, dragged over its axis

panel?.addEventListener("pointerdown", (event) => {
  const axis = event.target.closest("[data-axis]");
  if (!axis || event.button || event.pointerType === "touch") return;
  event.preventDefault();
  const box = axis.getBoundingClientRect(), share = (at) => Math.max(0, Math.min(1, (at.clientX - box.left) / box.width));
  const first = share(event), mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  mark.setAttribute("class", "drag");
  mark.setAttribute("height", "100%");
  axis.prepend(mark);
  const bounds = (at) => [first, share(at)].sort((one, other) => one - other);
  const draw = (at) => {
    const [left, right] = bounds(at);
    mark.setAttribute("x", `${left * 100}%`);
    mark.setAttribute("width", `${(right - left) * 100}%`);
  };
  const done = (at) => {
    removeEventListener("pointermove", draw);
    mark.remove();
    const [left, right] = bounds(at), start = Number(axis.dataset.start), span = Number(axis.dataset.end) - start;
    if ((right - left) * box.width < 6) return; // a click
    const next = new URL(address, location.href);
    next.searchParams.set("since", Math.round(start + left * span));
    next.searchParams.set("until", Math.round(start + Math.max(right * span, left * span + 10)));
    show(next.pathname + next.search);
  };
  addEventListener("pointermove", draw);
  addEventListener("pointerup", done, { once: true });
});

const chosen = (form) => `${form.getAttribute("action")}?${new URLSearchParams([...new FormData(form)].filter(([, value]) => value))}`;
panel?.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-filter]");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(() => show(chosen(form)), event.target.name === "text" ? 220 : 0);
});
panel?.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-filter]");
  if (form) { event.preventDefault(); show(chosen(form)); }
});

// An event that is opened brings all it holds.
panel?.addEventListener("toggle", async (event) => {
  const row = event.target.closest("details.ev");
  if (!row?.open || row.filled) return;
  row.filled = true;
  const response = await fetchPart(row.dataset.source);
  if (response.lost) { row.filled = false; return; }
  put(row.querySelector(".body"), await response.text());
}, true);

// ---------------------------------------------------------------- growth

// Takes over what is new and leaves stretches alone whose rows are the same, so that nothing jumps under the reader.
let least = 0; // the last event that was told: what is shown must have it
const grow = throttle(async () => {
  if (document.hidden || panel.querySelector("details.ev[open]")) return;
  const response = await fetchPart(`${address}${address.includes("?") ? "&" : "?"}least=${least}`);
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const present = panel.querySelector("[data-history]"), next = fresh.querySelector("[data-history]");
  if (!present || !next) return;
  const total = panel.querySelector("[data-total]");
  total.replaceWith(document.adoptNode(fresh.querySelector("[data-total]")));
  const axis = present.querySelector(".axis"), newAxis = next.querySelector(".axis");
  if (axis && newAxis) axis.replaceWith(document.adoptNode(newAxis));
  const known = new Map([...present.querySelectorAll(".chunk")].map((chunk) => [chunk.dataset.first, chunk]));
  present.querySelector(".empty")?.remove();
  for (const chunk of next.querySelectorAll(".chunk")) {
    const old = known.get(chunk.dataset.first);
    known.delete(chunk.dataset.first);
    if (old?.dataset.key === chunk.dataset.key) continue;
    const added = document.adoptNode(chunk);
    if (!old) present.append(added);
    else if (added.classList.contains("unloaded") && old.loaded) {
      // In sight: its rows are asked for and change in place.
      Object.assign(old.dataset, { key: added.dataset.key, count: added.dataset.count });
      old.loaded = false;
      if (old.near) await load(old);
      continue;
    } else old.replaceWith(added);
  }
  for (const gone of known.values()) gone.remove();
  decorate(present);
  watch();
}, 1000);

// Attempts and heartbeats are no events of the history: while there are activities, the head is asked for now and then, less and less
// often as long as nothing changes. Each time is a record in Kafka.
const LOOK_MIN = 5000, LOOK_MAX = 80000;
const run = document.querySelector("[data-run]");
if (run) {
  const told = (name) => run.querySelector("[data-busy]")?.dataset[name] ?? "";
  const state = () => `${told("busy")} ${told("length")} ${told("status")}`;
  const ended = new AbortController();
  let every = LOOK_MIN, looking = 0;
  const look = () => {
    clearTimeout(looking);
    if (told("busy") && !document.hidden) looking = setTimeout(head, every);
  };
  const ask = async () => {
    if (document.hidden || run.querySelector("details[open]") || isHeld(run, head)) return; // somebody reads a failure
    const before = state();
    const response = await fetchPart(location.pathname);
    if (response.ok && !isHeld(run, head)) renew(run, await response.text());
    every = response.ok && state() !== before ? LOOK_MIN : Math.min(every * 2, LOOK_MAX);
  };
  const head = throttle(async () => { try { await ask(); } finally { look(); } }, 1000);
  const more = () => { if (panel?.querySelector("[data-history]")) grow(); };
  // What was put off while nobody looked, or while an event was open.
  const catchUp = () => { if (!document.hidden && least) { head(); more(); } };
  const next = Number(run.dataset.next);
  const address = () => {
    const parameters = { run_id: run.dataset.runId, task_queue: run.dataset.queue, first: Math.max(next, least + 1) };
    return `/api/odradek/v1/workflows/${run.dataset.workflow}/events?${new URLSearchParams(parameters)}`;
  };
  const events = {
    events: (event) => {
      least = Number(event.lastEventId) || least;
      every = LOOK_MIN;
      head();
      more();
    },
    unavailable: () => setPulse("lost"),
    closed: () => { ended.abort(); head(); },
    error: (event) => { if (event.data) ended.abort(); },
  };
  const poll = async () => {
    const before = told("length");
    await ask();
    if (told("length") !== before) { least = Math.max(least, Number(told("length"))); more(); }
    if (told("status") && told("status") !== "RUNNING") ended.abort();
    return every;
  };
  if (run.dataset.open === "true") {
    const listeners = { open: () => setPulse("live"), lost: () => setPulse("lost"), events };
    const again = () => { every = LOOK_MIN; if (least || told("busy")) head(); if (least) more(); };
    followRun({ address, listeners, ended, poll, again });
    look();
    document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(looking); });
    panel?.addEventListener("toggle", (event) => { if (!event.target.open) catchUp(); }, true);
  }
}

if (panel?.hasAttribute("data-load")) show(address);
else if (panel) watch();
