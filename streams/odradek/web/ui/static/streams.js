// What changes, told by the server as it changes. Over HTTP/1.1 a browser has six connections to a host for all its tabs together, and an
// event stream keeps one. So a page that nobody looks at has none, of the others one reads what changes and tells the rest, and few follow
// a run each; the rest ask now and then.

import { $, heard } from "./parts.js";

const CHANGES = "odradek.changes", TOPICS = ["runs", "members"], RUN = "odradek.run", RUNS_MAX = 2;
const POLL_MS = 3000, AGAIN_MS = 5000;
const RUN_POLL_MAX_MS = 15000; // so often a stream asks the run's owner: asking costs no more than following
// Locks are for secure pages alone (https, localhost).
const SHARES = Boolean(navigator.locks) && "BroadcastChannel" in window;

const pulse = $("#pulse");
const SAYS = { live: "Live", lost: "Connection lost, trying again", idle: "Live updates" };
export function setPulse(state, says = SAYS[state]) {
  if (state === "live" && pulse.dataset.state === "lost" && says === SAYS.live) heard();
  pulse.dataset.state = state;
  pulse.title = says;
}

export const sleep = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});

// Does `begin` whenever the page comes into sight; its signal says when it goes out of it. `again`: not for the first time.
export function whileSeen(begin) {
  let seen = null, again = false;
  const end = () => { seen?.abort(); seen = null; };
  const look = () => {
    if (document.hidden) { end(); return; }
    if (seen) return;
    seen = new AbortController();
    begin(seen.signal, again);
    again = true;
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("pageshow", look);
  addEventListener("pagehide", end);
  look();
}

// A stream until the signal; opened anew when the server has refused it, which browsers do not do.
function read(address, signal, listeners) {
  let source = null, timer = 0;
  const open = () => {
    source = new EventSource(address());
    source.onopen = () => listeners.open();
    source.addEventListener("error", (event) => {
      if (event.data) return; // a message of that name
      listeners.lost();
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    });
    for (const [name, heard] of Object.entries(listeners.events)) source.addEventListener(name, heard);
  };
  open();
  return new Promise((done) => {
    signal.addEventListener("abort", () => { clearTimeout(timer); source.close(); done(); }, { once: true });
  });
}

// Calls `changed` when something of a topic changed, and when something may have changed unseen.
export function followChanges(topic, changed) {
  if (!SHARES) {
    whileSeen(async (signal, again) => {
      if (again) changed();
      setPulse("live", "Looks again every few seconds");
      for (await sleep(POLL_MS, signal); !signal.aborted; await sleep(POLL_MS, signal)) changed();
    });
    return;
  }
  const channel = new BroadcastChannel(CHANGES), me = crypto.randomUUID();
  let leads = false;
  const hear = ({ state, topic: told, to = me }) => {
    if (to !== me || document.hidden) return;
    if (state) setPulse(state);
    if (state === "live" || told === topic) changed();
  };
  channel.onmessage = ({ data }) => {
    if (!data.asks) hear(data);
    else if (leads) channel.postMessage({ state: pulse.dataset.state, to: data.asks });
  };
  const tell = (message) => { hear(message); channel.postMessage(message); };
  whileSeen((signal, again) => {
    if (again) changed();
    signal.addEventListener("abort", () => setPulse("idle"), { once: true });
    channel.postMessage({ asks: me });
    const lead = async () => {
      if (signal.aborted) return;
      leads = true;
      await read(() => `/api/odradek/v1/changes?topics=${TOPICS}`, signal, {
        open: () => tell({ state: "live" }),
        lost: () => tell({ state: "lost" }),
        events: Object.fromEntries(TOPICS.map((name) => [name, () => tell({ topic: name })])),
      });
      leads = false;
    };
    navigator.locks.request(CHANGES, { signal }, lead).catch(() => { /* out of sight before its turn came */ });
  });
}

// Follows a stream of its own, if one of the few places for them is free. False, at once, if none is.
async function inPlace(work) {
  if (!SHARES) return false;
  for (let place = 0; place < RUNS_MAX; place++) {
    const done = await navigator.locks.request(`${RUN}.${place}`, { ifAvailable: true }, async (lock) => {
      if (lock) await work();
      return Boolean(lock);
    });
    if (done) return true;
  }
  return false;
}

// Follows a run until `ended()`, while its page is seen. `poll` is asked where no stream is to be had, and says how long to wait then.
export function followRun({ address, listeners, ended, poll, again }) {
  whileSeen(async (signal, repeated) => {
    if (repeated) again();
    signal.addEventListener("abort", () => setPulse("idle"), { once: true });
    while (!signal.aborted && !ended.signal.aborted) {
      const both = AbortSignal.any([signal, ended.signal]);
      if (await inPlace(async () => { if (!both.aborted) await read(address, both, listeners); })) continue;
      setPulse("live", "Looks again every few seconds: other tabs of this browser follow their runs");
      await sleep(Math.min(await poll(), RUN_POLL_MAX_MS), both);
    }
    setPulse("idle");
  });
}
