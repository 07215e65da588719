// Moments as people read them: how long ago, or the day, in the viewer's zone; the exact one on hover. With
// data-time="clock" the time of day, to the second: where moments are compared with each other.
import { language } from "./texts.js";

const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const dayAndClock = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const UNITS = [["second", 1, 60], ["minute", 60, 60], ["hour", 3600, 24], ["day", 86400, 7]];

export function showTimes(within) {
  const now = Date.now();
  for (const element of within.querySelectorAll("time[data-time]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const shown = element.dataset.time === "clock" ? onClock(moment, now) : ago(moment, now);
    if (element.textContent !== shown) element.textContent = shown;
    element.title = `${exact.format(moment)}\n${element.dateTime}`;
  }
}

export const clock = (moment) => new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(moment);

function onClock(moment, now) {
  return moment.toDateString() === new Date(now).toDateString() ? clock(moment) : dayAndClock.format(moment);
}

function ago(moment, now) {
  const seconds = (moment - now) / 1000;
  for (const [unit, size, most] of UNITS) {
    const count = Math.trunc(seconds / size);
    if (Math.abs(count) < most) return relative.format(count === 0 ? 0 : count, unit);
  }
  return day.format(moment);
}
