// Rollouts: charts of canary against baseline, kept up to date without being made anew; and the form, with what it would do.
import uPlot from "../vendor/charts.js";
import { language } from "./texts.js";
import { showTimes } from "./time.js";

const HEIGHT = 220;
const charts = new Map(); // element → { plot, text }
const still = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const known = charts.get(target);
    if (known && contentRect.width > 0 && Math.abs(known.plot.width - contentRect.width) > 1) known.plot.setSize({ width: contentRect.width, height: HEIGHT });
  }
});
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const figure = new Intl.NumberFormat(language, { maximumSignificantDigits: 4, notation: "compact" });

function draw() {
  for (const element of document.querySelectorAll("[data-chart]")) {
    const text = document.getElementById(element.dataset.chart)?.textContent;
    const known = charts.get(element);
    if (!text || known?.text === text) continue;
    const data = JSON.parse(text);
    if (known) {
      known.data = data;
      known.text = text;
      known.plot.setData(series(data));
    } else {
      const made = { data, text, plot: null };
      made.plot = new uPlot(options(made, element.clientWidth || 600), series(data), element);
      charts.set(element, made);
      still.observe(element);
    }
  }
  for (const element of charts.keys()) {
    if (element.isConnected) continue;
    charts.get(element).plot.destroy();
    charts.delete(element);
    still.unobserve(element);
  }
}

const bounds = (data) => ["least", "most"].filter((name) => data[name] !== null);
const series = (data) => [data.x, data.canary, data.baseline, ...bounds(data).map((name) => data.x.map(() => data[name]))];

function options(made, width) {
  const { data } = made;
  const axis = { stroke: () => style("--dim"), grid: { stroke: () => style("--line"), width: 1 }, ticks: { stroke: () => style("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const value = (plot, number) => (number === null ? "—" : figure.format(number));
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (plot, low, high) => span(low, high) } },
    axes: [
      { ...axis, space: 90, values: (plot, moments) => moments.map((moment) => clock.format(moment * 1000)) },
      { ...axis, size: 64, values: (plot, numbers) => numbers.map((number) => figure.format(number)) },
    ],
    series: [
      { label: data.words.time, value: (plot, moment) => (moment === null ? "—" : clock.format(moment * 1000)) },
      { label: data.words.canary, stroke: () => style("--busy"), width: 2, points: { size: 6 }, value },
      { label: data.words.baseline, stroke: () => style("--idle"), width: 2, dash: [6, 4], points: { size: 4 }, value },
      ...bounds(data).map((name) => ({ label: data.words[name], stroke: () => style("--bad"), width: 1, dash: [2, 3], points: { show: false }, value })),
    ],
    hooks: { draw: [(plot) => batches(plot, made.data)] },
  };
}

// Room above and below; values that are all the same still have a line in the middle.
function span(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.1;
  return [low - room, high + room];
}

// Where each batch begins: a line down, and its number.
function batches(plot, data) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = style("--line");
  ctx.fillStyle = style("--dim");
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  for (const [moment, number] of data.begins) {
    const x = plot.valToPos(moment, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(`${data.words.batch} ${number}`, x + 4 * devicePixelRatio, bbox.top + 2 * devicePixelRatio);
  }
  ctx.restore();
}

draw();
document.addEventListener("herz:fresh", draw);
new MutationObserver(() => { for (const { plot } of charts.values()) plot.redraw(false, true); })
  .observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });

// What the rollout would do, as the form is filled in and as instances come and go. What goes wrong is told when it is sent.
const form = document.getElementById("start");
if (form) {
  let asked = null;
  let timer = 0;
  const preview = async () => {
    asked?.abort();
    asked = new AbortController();
    try {
      const url = `${location.pathname}?${new URLSearchParams(new FormData(form))}`;
      const answer = await fetch(url, { headers: { "x-herz-live": "1" }, cache: "no-store", redirect: "manual", signal: asked.signal });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("preview");
      if (!fresh) return;
      showTimes(fresh);
      globalThis.Idiomorph.morph(document.getElementById("preview"), fresh);
    } catch { /* replaced by a later one, or the server is away: the next one tells */ }
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(preview, 150); };
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  addEventListener("pageshow", soon); // what the browser fills in again
  setInterval(() => { if (!document.hidden) preview(); }, 5000);
}

// Another check: the template's fields under the next number.
const list = document.getElementById("check-list");
const add = document.getElementById("add-check");
if (list && add) {
  let next = Math.max(-1, ...[...list.querySelectorAll("[name^=check-]")].map((field) => Number(field.name.split("-")[1]))) + 1;
  const full = () => { add.hidden = list.children.length >= Number(list.dataset.most); };
  full();
  add.addEventListener("click", () => {
    const fresh = document.getElementById("check-template").content.cloneNode(true);
    for (const field of fresh.querySelectorAll("[name]")) field.name = field.name.replace("NEXT", next);
    next += 1;
    list.append(fresh);
    full();
    list.lastElementChild.querySelector("input").focus();
  });
}
