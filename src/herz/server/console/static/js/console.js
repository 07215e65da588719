// What every page does: times, theme, dialogs, copying, shortcuts, and staying up to date.
import { live } from "./live.js";
import { showTimes } from "./time.js";
import { text } from "./texts.js";

const root = document.documentElement;

document.getElementById("theme")?.addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("herz-theme", root.dataset.theme); } catch { /* it lasts for this page */ }
});

// Dialogs: a button names its dialog; what must be typed enables the deed.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) {
    const dialog = document.getElementById(opener.dataset.dialog);
    dialog.showModal();
    dialog.querySelector("input:not([type=hidden]), select, textarea")?.focus();
  }
  if (event.target.closest("[data-close]")) event.target.closest("dialog")?.close();
  const copied = event.target.closest("[data-copy]");
  if (copied) navigator.clipboard?.writeText(copied.dataset.copy).then(() => { copied.title = text("copied"); }, () => {});
});
document.addEventListener("input", (event) => {
  const word = event.target.dataset?.confirm;
  if (word === undefined) return;
  for (const button of event.target.form.querySelectorAll("[type=submit]")) button.disabled = event.target.value !== word;
});

// A form is sent once, however often it is clicked.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  else if (event.target.method === "post" && !event.target.hasAttribute("hx-post")) event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });

// "/" goes to the page's filter, as in most consoles.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
  const wanted = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]`);
  if (wanted) { event.preventDefault(); wanted.focus(); }
});

document.addEventListener("htmx:afterSettle", () => showTimes(document));
// An answer that is a problem is shown where the answer would have been.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (xhr.status === 401) location.reload();
  if (xhr.status >= 400 && requestConfig.verb !== "get") event.detail.shouldSwap = true;
});

showTimes(document);
setInterval(() => showTimes(document), 10_000);
live();
