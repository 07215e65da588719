// Ages change without anything having happened: what is marked `data-again` is read again every so many milliseconds, while it is seen.
// Whether the connection is lost, and since when, is told by live.js.
import { morph } from "./live.js";
import { showTimes } from "./time.js";

let reading = false;

async function read() {
  if (reading || document.hidden) return;
  reading = true;
  try {
    const answer = await fetch(location.href, { headers: { "x-herz-live": "1" }, cache: "no-store", redirect: "manual" });
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-again]")) {
      const fresh = next.getElementById(old.id);
      if (fresh) morph(old, fresh);
    }
    showTimes(document);
  } catch {
    // the server is away
  } finally {
    reading = false;
  }
}

const first = document.querySelector("[data-again]");
if (first) setInterval(read, Number(first.dataset.again));
