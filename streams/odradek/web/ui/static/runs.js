// The list of runs: picks that outlive live updates, and saved views (kept in this browser).

const live = document.querySelector("#runs-live");
const picked = new Set();
let scope = "picked"; // what hits every open run of a list is chosen on purpose

function draw() {
  for (const box of live.querySelectorAll("input[name=run]")) box.checked = picked.has(box.value);
  const count = live.querySelector("#picked-count");
  if (!count) return;
  count.textContent = String(picked.size);
  const chosen = live.querySelector(`input[name=scope][value=${scope}]`);
  if (chosen) chosen.checked = true;
  const boxes = [...live.querySelectorAll("input[name=run]")];
  for (const every of live.querySelectorAll(".pick-all")) every.checked = boxes.length > 0 && boxes.every((box) => box.checked);
  enable();
}

// "Picked" with nothing picked means nothing.
function enable() {
  const nothing = live.querySelector("input[name=scope]:checked")?.value === "picked" && !picked.size;
  for (const button of live.querySelectorAll("button[name=action]")) {
    button.disabled = nothing;
    button.title = nothing ? "Pick runs first" : "";
  }
}

live?.addEventListener("change", (event) => {
  const box = event.target;
  if (box.name === "scope") { scope = box.value; enable(); return; }
  if (box.matches(".pick-all")) {
    for (const one of live.querySelectorAll("input[name=run]")) if (box.checked) picked.add(one.value); else picked.delete(one.value);
  } else if (box.name === "run") {
    if (box.checked) picked.add(box.value); else picked.delete(box.value);
  } else return;
  scope = "picked";
  draw();
});
// A pick that a live update has pushed off the page is meant all the same.
live?.addEventListener("submit", (event) => {
  const shown = new Set([...live.querySelectorAll("input[name=run]")].map((box) => box.value));
  for (const value of picked) {
    if (shown.has(value)) continue;
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "run", value });
    event.target.append(field);
  }
});
live?.addEventListener("part", draw);
addEventListener("pageshow", draw);

// ---------------------------------------------------------------- saved views

const KEY = "odradek.views";
const alike = (search) => String(new URLSearchParams([...new URLSearchParams(search)].sort()));
for (const link of document.querySelectorAll("#views a.view")) {
  if (alike(new URL(link.href).search) === alike(location.search)) link.setAttribute("aria-current", "true");
}
const views = document.querySelector("#saved-views");
const save = document.querySelector("#save-view");
const read = () => { try { return JSON.parse(localStorage.getItem(KEY)) ?? []; } catch { return []; } };
const write = (list) => { localStorage.setItem(KEY, JSON.stringify(list)); drawViews(); };

function drawViews() {
  views.replaceChildren(...read().map((view) => {
    const line = Object.assign(document.createElement("span"), { className: "saved" });
    const link = Object.assign(document.createElement("a"), { className: "view", href: `/runs${view.search}`, textContent: view.name });
    if (view.search === location.search) {
      link.setAttribute("aria-current", "true");
      document.querySelector("#views summary").textContent = `View: ${view.name}`;
    }
    const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "✕", title: `Forget ${view.name}` });
    drop.setAttribute("aria-label", `Forget ${view.name}`);
    drop.addEventListener("click", (event) => { event.preventDefault(); write(read().filter((one) => one.name !== view.name)); });
    line.append(link, drop);
    return line;
  }));
  save.hidden = !location.search || read().some((view) => view.search === location.search);
}

save?.addEventListener("click", () => {
  const field = Object.assign(document.createElement("input"), { placeholder: "Name, Enter" });
  field.setAttribute("aria-label", "Name of the view");
  save.replaceWith(field);
  field.focus();
  let ended = false;
  const end = (keep) => {
    if (ended) return; // leaving the field is also what happens when it is taken away
    ended = true;
    const name = field.value.trim();
    field.replaceWith(save);
    if (keep && name) write([...read().filter((one) => one.name !== name), { name, search: location.search }]);
  };
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") end(true); else if (event.key === "Escape") { event.preventDefault(); end(false); } });
  field.addEventListener("blur", () => end(true));
});
const here = document.querySelector("#views a.view[aria-current]");
if (here) document.querySelector("#views summary").textContent = `View: ${here.dataset.name}`;
if (views) drawViews();
