// A history from a file: sent as it is, then looked at.

import { fetchPart } from "./parts.js";

const form = document.querySelector("#import");
const problem = document.querySelector("#import-problem");

async function send(text) {
  problem.hidden = true;
  const response = await fetchPart("/import", { method: "POST", body: text, headers: { "Content-Type": "application/json" } });
  if (response.lost) return;
  if (response.ok) {
    location.assign(JSON.parse(await response.text()).location);
    return;
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  problem.textContent = page.querySelector("[role=alert] span")?.textContent ?? `The server answered ${response.status}.`;
  problem.hidden = false;
}

document.querySelector("#import-file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (file) send(await file.text());
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(form.elements.history.value);
});
