// Staying up to date. One stream tells which topics have changed; a page that shows one of them asks for itself again, and what is
// marked `data-live` becomes what the answer has. One tab holds the stream for all tabs (a browser gives a host six connections).
import { clock, showTimes } from "./time.js";
import { text } from "./texts.js";

const EVERYTHING = "*";
const PAUSE_MS = 300; // between two readings of the same page
const SILENT_MS = 15_000; // after so long without a word the stream counts as dead; it speaks every 5 s
const topics = new Set(document.documentElement.dataset.topics.split(" ").filter(Boolean));
const banner = document.getElementById("banner");
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("herz-live") : null;

let shownAt = new Date();
let reading = false;
let again = false;
let heard = Date.now();
let trouble = null;

export function live() {
  if (!document.querySelector("[data-live]")) return;
  tabs?.addEventListener("message", (event) => take(event.data));
  if (tabs && navigator.locks) navigator.locks.request("herz-live", () => new Promise(() => follow()));
  else follow();
  setInterval(() => { if (Date.now() - heard > SILENT_MS) lost(); }, 1000);
  addEventListener("online", () => refresh());
  document.addEventListener("visibilitychange", () => { if (!document.hidden && trouble) refresh(); });
}

function follow() {
  let source = null;
  let wait = 500;
  let silent = 0;
  const say = (message) => { take(message); tabs?.postMessage(message); };
  const open = () => {
    source = new EventSource("/console/live");
    let spoken = Date.now();
    const spoke = (kind, event) => { spoken = Date.now(); say({ kind, data: JSON.parse(event.data) }); };
    source.addEventListener("hello", (event) => { wait = 500; spoke("hello", event); });
    source.addEventListener("changed", (event) => spoke("changed", event));
    source.addEventListener("alive", (event) => spoke("alive", event));
    source.addEventListener("end", (event) => { spoke("end", event); broken(); });
    source.onerror = () => { say({ kind: "lost" }); broken(); };
    clearInterval(silent);
    silent = setInterval(() => { if (Date.now() - spoken > SILENT_MS) { say({ kind: "lost" }); broken(); } }, 1000);
  };
  const broken = () => {
    clearInterval(silent);
    source.close();
    setTimeout(open, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, 8000);
  };
  open();
}

function take({ kind, data }) {
  if (kind === "lost") { lost(); return; }
  heard = Date.now();
  if (kind === "hello") {
    if (data.version !== document.documentElement.dataset.version) { tell("updated", "reload", () => location.reload()); return; }
    refresh();
  }
  if (kind === "changed" && data.some((topic) => topic === EVERYTHING || topics.has(topic))) refresh();
  if (kind === "alive") {
    if (!data.current) tell("stale");
    else if (trouble === "stale" || trouble === "lost") refresh();
    else if (!trouble) shownAt = new Date();
  }
  if (kind === "end" && data.reason === "ended") refresh(); // the answer tells whether somebody must sign in
}

function lost() {
  if (trouble !== "ended" && trouble !== "updated") tell("lost", "retry", () => refresh());
}

function tell(what, button, act) {
  if (trouble === what) return;
  trouble = what;
  banner.replaceChildren(`${text(what)}${what === "updated" ? "" : ` ${clock(shownAt)}.`}`);
  if (button) {
    const element = document.createElement("button");
    element.type = "button";
    element.textContent = text(button);
    element.addEventListener("click", act);
    banner.append(element);
  }
  banner.classList.toggle("bad", what === "lost" || what === "ended");
  banner.hidden = false;
}

function well() {
  shownAt = new Date();
  if (trouble === "updated") return;
  trouble = null;
  banner.hidden = true;
}

export async function refresh() {
  again = true;
  if (reading) return;
  reading = true;
  try {
    while (again) {
      again = false;
      await read();
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } finally {
    reading = false;
  }
}

async function read() {
  const asked = location.href;
  let answer;
  try {
    answer = await fetch(asked, { headers: { "x-herz-live": "1" }, cache: "no-store", redirect: "manual" });
  } catch {
    lost();
    return;
  }
  if (answer.status === 401 || answer.type === "opaqueredirect") {
    tell("ended", "sign_in", () => location.reload());
    return;
  }
  if (answer.status >= 500) { lost(); return; }
  if (!answer.ok) { location.replace(location.href); return; } // what it was about is gone, or may not be seen any more
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (location.href !== asked) { again = true; return; } // a filter has changed the address meanwhile
  if (next.documentElement.dataset.version !== document.documentElement.dataset.version) {
    tell("updated", "reload", () => location.reload());
    return;
  }
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = next.getElementById(old.id);
    if (!fresh) old.replaceChildren();
    else morph(old, fresh);
  }
  for (const topic of next.documentElement.dataset.topics.split(" ")) if (topic) topics.add(topic);
  well();
  showTimes(document);
  document.dispatchEvent(new CustomEvent("herz:fresh"));
}

export function morph(old, fresh) {
  showTimes(fresh); // so that equal times are equal texts
  globalThis.Idiomorph.morph(old, fresh, {
    ignoreActiveValue: true,
    callbacks: {
      // What the viewer opened, typed or a script drew stays.
      beforeNodeMorphed: (from, to) => {
        if (from.nodeType !== Node.ELEMENT_NODE) return true;
        if (from.hasAttribute("data-keep")) return false;
        if (from.tagName === "DETAILS") to.open = from.open;
        if (from.tagName === "DIALOG" && from.open) return false;
        return true;
      },
    },
  });
  globalThis.htmx?.process(old);
}
