// The list of runs: picks that outlive live updates, and saved views (kept in this browser).

const live = document.querySelector("#runs-live");
const picked = new Set();

function draw() {
  for (const box of live.querySelectorAll("input[name=run]")) box.checked = picked.has(box.value);
  const count = live.querySelector("#picked-count");
  if (!count) return;
  count.textContent = picked.size ? String(picked.size) : "";
  const scope = live.querySelector(`input[name=scope][value=${picked.size ? "picked" : "query"}]`);
  if (scope) scope.checked = true;
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
  if (box.name === "scope") { enable(); return; }
  if (box.id === "pick-all") {
    for (const one of live.querySelectorAll("input[name=run]")) one.checked ||= box.checked;
    for (const one of live.querySelectorAll("input[name=run]")) if (box.checked) picked.add(one.value); else picked.delete(one.value);
  } else if (box.name === "run") {
    if (box.checked) picked.add(box.value); else picked.delete(box.value);
  } else return;
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
const views = document.querySelector("#saved-views");
const save = document.querySelector("#save-view");
const read = () => { try { return JSON.parse(localStorage.getItem(KEY)) ?? []; } catch { return []; } };
const write = (list) => { localStorage.setItem(KEY, JSON.stringify(list)); drawViews(); };

function drawViews() {
  views.replaceChildren(...read().map((view) => {
    const chip = document.createElement("a");
    chip.className = "chip";
    chip.href = `/runs${view.search}`;
    chip.append(view.name);
    if (view.search === location.search) chip.setAttribute("aria-current", "true");
    const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "✕", title: `Forget ${view.name}` });
    drop.setAttribute("aria-label", `Forget ${view.name}`);
    drop.addEventListener("click", (event) => { event.preventDefault(); write(read().filter((one) => one.name !== view.name)); });
    chip.append(drop);
    return chip;
  }));
  save.hidden = !location.search || read().some((view) => view.search === location.search);
  document.querySelector("#views-divider").hidden = save.hidden && !read().length;
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
for (const chip of document.querySelectorAll("#views > a.chip")) {
  if (chip.getAttribute("href") === location.pathname + location.search) chip.setAttribute("aria-current", "true");
}
if (views) drawViews();
