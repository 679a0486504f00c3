// Parts of pages that the server renders: fetched, put in place, renewed under the reader's hands.

export const $ = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// ---------------------------------------------------------------- asking the server

// What `fetchPart` gives when nobody has answered.
const LOST = { ok: false, lost: true, redirected: false, status: 0, text: async () => "" };
const TEXTS = {
  look: "What you see may be old. It is asked again with the next thing you do, and by live parts by themselves.",
  act: "It is not known whether this was done: look before you try it again.",
};
let leaving = false;
addEventListener("pagehide", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });

// A note that the server is silent, where it is seen: in the dialog if one is open. Gone with the next answer.
function silence(what) {
  $("#lost")?.remove();
  if (!what || leaving) return;
  const note = Object.assign(document.createElement("p"), { id: "lost", className: "note bad" });
  const strong = Object.assign(document.createElement("strong"), { textContent: "The server does not answer." });
  note.setAttribute("role", "alert");
  note.dataset.what = what;
  note.append(strong, Object.assign(document.createElement("span"), { textContent: TEXTS[what] }));
  ($("dialog[open]") ?? $("#content")).append(note);
}

// The server is heard of again: what is old is asked for by whoever needs it, and the note goes, unless it says what nobody knows yet.
export function heard() {
  if ($("#lost")?.dataset.what === "look") silence("");
  document.dispatchEvent(new Event("heard"));
}

// A part of a page, or the answer to a form. Never rejects: `lost` says that nobody answered, which the page says too.
export async function fetchPart(address, options = {}) {
  try {
    const response = await fetch(address, { ...options, headers: { "X-Part": "1", Accept: "text/html", ...options.headers } });
    if (response.status === 401) location.reload();
    const text = await response.text(); // a connection may break in the middle of it
    silence("");
    return { ok: response.ok, lost: false, redirected: response.redirected, url: response.url, status: response.status, text: async () => text };
  } catch {
    // Requests of a page that is being left break too.
    setTimeout(() => silence(options.method === "POST" ? "act" : "look"), 100);
    return LOST;
  }
}

// ---------------------------------------------------------------- putting it in place

let decorate = () => {};
export const decorateBy = (work) => { decorate = work; };

// Puts server-rendered HTML in place and tells everybody who decorates pages.
export function put(element, html) {
  element.innerHTML = html;
  decorate(element);
  element.dispatchEvent(new CustomEvent("part", { bubbles: true }));
}

const STOPS = "a[href], button, input, select, textarea, summary, [tabindex]";

// What a link or field is known by in the next state of its part: its row, its kind, its name.
function keyOf(one) {
  const row = one.closest("[data-row]")?.dataset.row ?? "";
  const name = one.id || one.getAttribute("rel") || one.getAttribute("href") || (one.name && `${one.name}=${one.value}`);
  return [row, one.localName, name || one.getAttribute("aria-label") || one.textContent.trim().slice(0, 80)].join("\n");
}

// The same with a newer state of what is shown: keyboard focus stays on what has it.
export function renew(element, html) {
  const focused = element.contains(document.activeElement) && document.activeElement !== element ? document.activeElement : null;
  const key = focused && keyOf(focused);
  const alike = (root) => all(STOPS, root).filter((one) => keyOf(one) === key);
  const at = focused ? alike(element).indexOf(focused) : -1;
  const rowAt = focused?.closest("[data-row]") ? all("[data-row]", element).indexOf(focused.closest("[data-row]")) : -1;
  put(element, html);
  if (!focused) return;
  const found = alike(element);
  // A row that is gone: whoever went through them goes on from there.
  const near = all("[data-row]", element).at(Math.max(0, rowAt));
  const next = found[at] ?? found[0] ?? (rowAt >= 0 && near ? $(STOPS, near) : null);
  next?.focus({ preventScroll: true });
}

// ---------------------------------------------------------------- leaving it alone

let pressed = null, opener = null;
const waiting = new Set();
const free = () => { for (const work of [...waiting]) { waiting.delete(work); work(); } };
addEventListener("pointerdown", (event) => { pressed = event.target; }, true);
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => { pressed = null; setTimeout(free); }, true);
document.addEventListener("selectionchange", () => { if (getSelection().isCollapsed) free(); });
document.addEventListener("toggle", free, true);
document.addEventListener("focusout", () => setTimeout(free));
document.addEventListener("close", () => setTimeout(free), true);
export const opensDialog = () => { opener = document.activeElement; };

// Whether somebody is at something in a part that a newer state would take away: a selection, a menu, a dialog that was opened from there,
// a text being typed, a button held down. `work` is done when it is over.
export function isHeld(element, work) {
  const selection = getSelection(), active = document.activeElement;
  const held =
    (selection.rangeCount && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(element)) ||
    $("details.menu[open], dialog[open]", element) ||
    (pressed && element.contains(pressed)) ||
    ($("dialog[open]") && opener && element.contains(opener)) ||
    (element.contains(active) && active.matches("input:not([type=checkbox], [type=radio]), textarea") && active.value !== active.defaultValue);
  if (held) waiting.add(work);
  return Boolean(held);
}

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
