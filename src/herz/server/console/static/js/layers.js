// The layers in the editor: their texts and facts, what of them was saved, and keeping what was typed over a reload.
import { isolateHistory } from "../vendor/editor.js";
import { EditorState } from "./codemirror.js";

const KEPT_MOST = 1_500_000; // characters that a browser keeps for a tab; more is saved or lost

export class Layers {
  /** `made(layer)` gives the extensions of one layer's editor. */
  constructor(made) {
    this.made = made;
    this.all = [];
    this.current = 0;
    this.begin({ layers: [], revision: 0, base: null, digest: "" });
  }

  /** Begin from what is stored: that is then what counts as saved. */
  begin({ layers, revision, base, digest }) {
    this.stands({ revision, base, digest });
    this.all = layers.map((layer) => this.layer(layer));
    this.settle();
    this.current = Math.min(this.current, Math.max(0, this.all.length - 1));
  }

  /** What is stored, and at which revision, without its texts. */
  stands({ revision, base, digest }) {
    Object.assign(this, { revision, base, digest });
  }

  /** What is here now is what is stored. */
  settle(content = this.snapshot()) {
    this.saved = content;
  }

  layer({ name, text = "", format = "yaml", dimension = "application" }) {
    const crlf = /\r\n/.test(text) && !/(^|[^\r])\n/.test(text); // the editor counts a line's end as one letter
    const layer = { name, format, dimension, crlf };
    layer.state = EditorState.create({ doc: text, extensions: this.made(layer) });
    return layer;
  }

  /** The layers without copying their texts: a document that was not changed is the same object. */
  snapshot() {
    return this.all.map(({ name, format, dimension, state }) => ({ name, format, dimension, doc: state.doc }));
  }

  get dirty() {
    const now = this.snapshot();
    return now.length !== this.saved.length || now.some((layer, at) => {
      const was = this.saved[at];
      return layer.name !== was.name || layer.format !== was.format || layer.dimension !== was.dimension
        || !(layer.doc === was.doc || layer.doc.eq(was.doc));
    });
  }

  get size() {
    return this.all.reduce((sum, layer) => sum + layer.state.doc.length, 0);
  }

  get content() {
    return { layers: this.all.map(({ name, format, dimension, crlf, state }) => ({ name, format, dimension, text: written(state.doc, crlf) })) };
  }

  /** Set the texts of `layers`, by their names, changing only what differs: cursor and history stay. */
  set(layers, view) {
    if (layers.length !== this.all.length || layers.some((layer, at) => layer.name !== this.all[at].name)) {
      const name = this.all[this.current]?.name;
      this.all = layers.map((layer) => this.all.find((known) => known.name === layer.name) ?? this.layer(layer));
      this.current = Math.max(0, this.all.findIndex((layer) => layer.name === name));
    }
    layers.forEach((layer, at) => {
      const known = this.all[at];
      known.format = layer.format ?? "yaml";
      known.dimension = layer.dimension ?? "application";
      const change = between(known.state.doc.toString(), layer.text.replaceAll("\r\n", "\n"));
      if (!change) return;
      const step = { changes: change, annotations: isolateHistory.of("full") }; // undone by itself
      if (at === this.current && view.state === known.state) view.dispatch(step);
      else known.state = known.state.update(step).state;
    });
  }
}

const written = (doc, crlf) => (crlf ? doc.toString().replaceAll("\n", "\r\n") : doc.toString());

/** What turns `before` into `after`: one change, as short as can be; null for none. */
function between(before, after) {
  if (before === after) return null;
  let start = 0;
  const most = Math.min(before.length, after.length);
  while (start < most && before.charCodeAt(start) === after.charCodeAt(start)) start += 1;
  let end = 0;
  while (end < most - start && before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end)) end += 1;
  return { from: start, to: before.length - end, insert: after.slice(start, after.length - end) };
}

/** Text that was not saved, kept for this tab by the revision that it was begun on. */
export const kept = {
  write(key, layers) {
    kept.drop(key);
    if (!layers.dirty) return true;
    if (layers.size > KEPT_MOST) return false;
    try {
      sessionStorage.setItem(key + layers.revision, JSON.stringify({ base: layers.base, digest: layers.digest, ...layers.content }));
      return true;
    } catch {
      return false;
    }
  },
  /** `{revision, base, digest, layers}` or null. */
  read(key) {
    try {
      const name = Object.keys(sessionStorage).find((one) => one.startsWith(key));
      return name ? { revision: Number(name.slice(key.length)), ...JSON.parse(sessionStorage.getItem(name)) } : null;
    } catch {
      return null; // storage may be forbidden, or somebody else wrote it
    }
  },
  drop(key) {
    try {
      for (const name of Object.keys(sessionStorage)) if (name.startsWith(key)) sessionStorage.removeItem(name);
    } catch { /* then nothing is kept */ }
  },
};
