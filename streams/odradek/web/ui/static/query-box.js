// Completion of the query box: what may stand at the cursor, as the server's parser says.

const box = document.querySelector(".query .box");
const input = box?.querySelector("input[name=query]");
const list = document.querySelector("#query-options");
// The server counts letters, this language halves of those beyond U+FFFF.
const letters = (text) => [...text];
// What turns text around, or is not seen at all, is shown as an escape; what is taken has it as it is.
const visible = (text) => text.replace(/[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
let found = null, chosen = -1, asked = 0, timer = 0;

function hide() {
  list.hidden = true;
  found = null;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

function show(answer) {
  found = answer;
  chosen = -1;
  list.replaceChildren(...answer.suggestions.slice(0, 12).map((one, index) => {
    const item = document.createElement("li");
    const detail = document.createElement("span");
    item.id = `query-option-${index}`;
    item.role = "option";
    item.append(visible(one.text), detail);
    detail.textContent = one.detail || one.kind;
    item.addEventListener("mousedown", (event) => { event.preventDefault(); take(index); });
    return item;
  }));
  list.hidden = !list.children.length;
  input.setAttribute("aria-expanded", String(!list.hidden));
}

function mark(index) {
  chosen = index;
  [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === index)));
  list.children[index]?.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", `query-option-${index}`);
}

// Until the server has answered for a longer text, what it said of the shorter one is narrowed down here: a suggestion that is taken
// always fits the text that stands there.
function narrow() {
  if (!found || list.hidden) return;
  const at = input.selectionStart ?? 0, typed = input.value.slice(found.start, at);
  if (at < found.start || /[\s()=<>!,]/.test(typed.replace(/^['"`].*/, ""))) { hide(); return; }
  const wanted = typed.replace(/['"`]/g, "").toLowerCase();
  show({ ...found, end: at, suggestions: found.all.filter((one) => one.text.replace(/['"`]/g, "").toLowerCase().startsWith(wanted)) });
}

function take(index) {
  if (!found?.suggestions[index]) return;
  const text = found.suggestions[index].text;
  const after = input.value.slice(found.end);
  const space = after.startsWith(" ") ? "" : " ";
  input.value = input.value.slice(0, found.start) + text + space + after;
  const at = found.start + text.length + 1;
  input.setSelectionRange(at, at);
  complete();
}

async function complete() {
  const ticket = ++asked;
  const query = input.value;
  const position = letters(query.slice(0, input.selectionStart ?? query.length)).length;
  const parameters = new URLSearchParams({ grouping: false, query, position });
  const response = await fetch(`/api/odradek/v1/query-completions?${parameters}`).catch(() => null); // the list says it, not each letter
  if (!response?.ok || ticket !== asked || document.activeElement !== input) return;
  const answer = await response.json();
  if (query !== input.value) return; // it is asked for again soon
  const units = (count) => letters(query).slice(0, count).join("").length;
  Object.assign(answer, { start: units(answer.start), end: units(answer.end), all: answer.suggestions });
  input.setAttribute("aria-invalid", String(Boolean(answer.error)));
  input.title = answer.error ? `column ${answer.error_column}: ${answer.error}` : "";
  show(answer);
}

if (input) {
  input.addEventListener("input", () => { narrow(); clearTimeout(timer); timer = setTimeout(complete, 80); });
  input.addEventListener("focus", () => { if (!input.value) complete(); });
  input.addEventListener("blur", hide);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) { event.preventDefault(); hide(); return; }
    if (list.hidden) { if (event.key === "ArrowDown") { event.preventDefault(); complete(); } return; }
    const count = list.children.length;
    if (event.key === "ArrowDown") { event.preventDefault(); mark((chosen + 1) % count); }
    else if (event.key === "ArrowUp") { event.preventDefault(); mark((chosen - 1 + count) % count); }
    else if (event.key === "Tab" && !event.shiftKey) { event.preventDefault(); take(Math.max(0, chosen)); }
    else if (event.key === "Enter" && chosen >= 0) { event.preventDefault(); take(chosen); }
    else if (event.key === "Enter") hide();
  });
}
