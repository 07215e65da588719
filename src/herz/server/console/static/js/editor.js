// The draft's editor: layers as tabs, faults as they are typed, the form, the difference against what is live, and saving
// without losing anything, whoever else saves.
import { lintGutter } from "../vendor/editor.js";
import { asker, notice } from "./asking.js";
import { EditorView, common, languageOf } from "./codemirror.js";
import { highlight } from "./compare.js";
import { Faults } from "./faults.js";
import { Form } from "./form.js";
import { layerDialogs } from "./layer_dialogs.js";
import { Layers, kept } from "./layers.js";
import { refresh } from "./live.js";
import { showTimes } from "./time.js";

const { url, key, words } = JSON.parse(document.getElementById("editor-data").textContent);
const CHECKED_MOST = 1_000_000; // characters that are checked while somebody types
const PAUSE_MS = 350;
const at = (id) => document.getElementById(id);
const view = new EditorView({ parent: at("editor"), extensions: common(words.label) });
const layers = new Layers((layer) => [
  common(`${words.label} ${layer.name}`),
  languageOf(layer.format),
  lintGutter(),
  EditorView.updateListener.of((update) => {
    if (layers.all[layers.current]) layers.all[layers.current].state = update.state;
    if (update.docChanged) typed();
  }),
]);
const ask = asker(url, words);
let seen = 0; // the revision that the page tells of, as far as the reader was told
let timer = 0;
let saving = false;
let ready = false;
let shown = "text";

// --- showing

function tabs() {
  at("layers").replaceChildren(...layers.all.map((layer, index) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.role = "tab";
    tab.id = `tab-${index}`;
    tab.setAttribute("aria-selected", String(index === layers.current));
    tab.setAttribute("aria-controls", "editor");
    tab.tabIndex = index === layers.current ? 0 : -1;
    tab.textContent = layer.name;
    const wrong = faults.of(index);
    if (wrong) {
      const badge = document.createElement("span");
      badge.className = "badge bad";
      badge.textContent = String(wrong);
      tab.append(" ", badge);
    }
    tab.addEventListener("click", () => go(index));
    return tab;
  }));
  at("editor").setAttribute("aria-labelledby", `tab-${layers.current}`);
  at("layer-open").disabled = !layers.all.length;
}

at("layers").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !layers.all.length) return;
  go((layers.current + step + layers.all.length) % layers.all.length);
  at(`tab-${layers.current}`).focus();
});

function go(index) {
  layers.current = index;
  const layer = layers.all[index];
  at("editor").hidden = !layer;
  if (layer) view.setState(layer.state);
  faults.mark();
  tabs();
}

function state() {
  const dirty = layers.dirty || form.editing;
  at("state").textContent = saving ? words.saving : dirty ? words.unsaved : layers.revision ? words.saved : words.nothing;
  at("state").className = dirty ? "unsaved" : "dim";
  at("save-button").disabled = saving || !dirty;
  at("discard").disabled = saving || !dirty;
  const [release, first] = [at("release-open"), at("release-first")];
  if (release) { release.disabled = dirty; first.hidden = !dirty; }
}

/** Something was typed: say so, keep it, and have it checked once the reader pauses. */
function typed() {
  state();
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (!kept.write(key, layers) && layers.dirty) notice(words.not_kept);
    check();
    if (layers.size > CHECKED_MOST) return;
    if (shown === "form") form.load();
    if (shown === "difference") compare();
  }, PAUSE_MS);
}

async function check() {
  if (!layers.all.length) at("faults").textContent = words.no_layer;
  else if (layers.size > CHECKED_MOST) at("faults").textContent = words.large;
  else if (await faults.check()) tabs();
}

// --- views

const faults = new Faults(at("faults"), layers, view, ask, words, (fault) => {
  if (fault.layer !== layers.current) go(fault.layer);
  display("text");
  const { from } = faults.span(fault);
  view.dispatch({ selection: { anchor: from }, scrollIntoView: true });
  view.focus();
});
const form = new Form(at("view-form"), layers, ask, state, (changed) => { layers.set(changed, view); go(layers.current); typed(); });
layerDialogs(layers, words, () => {
  go(Math.min(layers.current, Math.max(0, layers.all.length - 1)));
  typed();
});

function display(name) {
  shown = name;
  for (const one of ["text", "form", "difference"]) {
    const button = document.querySelector(`[data-view=${one}]`);
    if (!button) continue;
    button.setAttribute("aria-pressed", String(one === name));
    at(`view-${one}`).hidden = one !== name;
  }
  if (name === "form") form.load();
  if (name === "difference") compare();
}
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => display(button.dataset.view));

async function compare() {
  const answer = await ask("/difference", { content: layers.content });
  if (!answer) return;
  at("view-difference").innerHTML = await answer.text();
  highlight(at("view-difference"));
}

/** What is stored: the draft, else what is live. */
const stands = async () => (await ask("/text"))?.json();

// --- saving, and whoever else saves

async function save() {
  await form.settled(); // a field that is being typed in belongs to it
  if (saving || !layers.dirty) return;
  saving = true;
  state();
  const wrote = layers.snapshot();
  const message = at("save").elements.message.value;
  const answer = await ask("", { content: layers.content, expect: layers.revision, base: layers.base, message }, [409]);
  saving = false;
  if (answer?.ok) {
    const made = await answer.json();
    layers.stands(made);
    layers.settle(wrote); // what was typed meanwhile is not saved
    seen = made.revision;
    at("save").elements.message.value = "";
    at("notice").hidden = true;
    at("conflict").replaceChildren();
    kept.write(key, layers);
    refresh();
  } else if (answer) await conflict(await answer.text());
  state();
}
at("save").addEventListener("submit", (event) => { event.preventDefault(); save(); });
document.addEventListener("keydown", (event) => {
  if (event.key !== "s" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  save();
});

async function conflict(html) {
  const box = at("conflict");
  box.innerHTML = html;
  showTimes(box);
  const actual = Number(box.firstElementChild?.dataset.actual);
  if (!Number.isFinite(actual)) { box.replaceChildren(); return; }
  seen = actual;
  at("notice").hidden = true;
  const done = () => { box.replaceChildren(); state(); view.focus(); };
  const on = (name, act) => box.querySelector(`[data-${name}]`)?.addEventListener("click", act);
  on("later", done);
  on("keep", () => { layers.revision = actual; done(); save(); });
  on("theirs", async () => {
    const stored = await stands();
    if (!stored) return;
    take(stored);
    done();
    notice(words.taken);
  });
  on("merge", async () => {
    const theirs = [...box.querySelectorAll("input[value=theirs]:checked")].map((input) => input.dataset.key);
    const answer = await ask("/merge", { content: layers.content, seen: layers.revision, base: layers.base, theirs });
    if (!answer) return;
    const merged = await answer.json();
    layers.set(merged.layers, view);
    layers.revision = merged.revision;
    go(layers.current);
    typed();
    done();
    notice(words.merged);
  });
  at("conflict-title").focus();
}

/** Theirs in the place of mine, in the same documents: undo brings mine back. */
function take(stored) {
  layers.set(stored.layers, view);
  layers.stands(stored);
  layers.settle();
  seen = stored.revision;
  kept.drop(key);
  go(Math.min(layers.current, Math.max(0, layers.all.length - 1)));
  check();
  state();
}

// The part of the page that is kept up to date tells which revision is stored now, and whose it is.
document.addEventListener("herz:fresh", () => {
  const { revision, author, digest, base } = at("standing").dataset;
  const now = Number(revision);
  if (!ready) return;
  state();
  if (digest && digest === layers.digest && !saving) { // released, or written anew as it was: nobody changed anything
    layers.stands({ revision: now, base: base === "" ? null : Number(base), digest });
    seen = now;
  }
  if (saving || now === layers.revision || now === seen) return;
  seen = now;
  if (now === 0 && !layers.dirty) return void stands().then((stored) => stored && take(stored));
  const load = [words.load, async () => {
    if (layers.dirty && !confirm(words.drop)) return;
    const stored = await stands();
    if (stored) take(stored);
  }];
  notice(now ? `${words.newer} ${author}.` : words.gone, load);
});

at("discard").addEventListener("click", async () => {
  if (!confirm(words.drop)) return;
  const stored = await stands();
  if (stored) take(stored);
});
addEventListener("beforeunload", (event) => {
  if (!layers.dirty && !form.editing) return;
  kept.write(key, layers);
  event.preventDefault();
});

// --- beginning

async function begin() {
  const stored = await stands();
  if (!stored) return;
  const mine = kept.read(key);
  layers.begin(stored);
  seen = stored.revision;
  if (!layers.all.length && !mine) {
    layers.all.push(layers.layer({ name: "application.yml" }));
    layers.settle();
  }
  if (mine) {
    layers.all = mine.layers.map((layer) => layers.layer(layer));
    const same = mine.revision === stored.revision || (mine.digest && mine.digest === stored.digest);
    if (!same) layers.stands(mine);
    notice(words.restored);
    if (!same) notice(`${words.restored} ${stored.revision ? `${words.newer} ${stored.author}.` : words.gone}`);
  }
  go(0);
  check();
  state();
  ready = true;
  document.body.dataset.editor = "ready";
}
begin();
