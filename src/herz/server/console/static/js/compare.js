// Read-only texts become editors that cannot be written in: highlighted, folded where both sides are the same.
import { MergeView } from "../vendor/editor.js";
import { EditorState, EditorView, common, languageOf, readOnly } from "./codemirror.js";

/** Two texts side by side in `parent`. */
function beside(parent, before, after, format, labels) {
  const side = (doc, label) => ({ doc, extensions: [common(label), languageOf(format), readOnly] });
  parent.replaceChildren();
  return new MergeView({
    a: side(before, labels[0]), b: side(after, labels[1]), parent,
    collapseUnchanged: { margin: 3, minSize: 4 }, gutter: true, diffConfig: { scanLimit: 2000, timeout: 1000 },
  });
}

function open(details) {
  if (!details.open) return;
  for (const pair of details.querySelectorAll(".beside:not([data-done])")) {
    pair.dataset.done = "yes";
    const [before, after] = pair.querySelectorAll("pre");
    const [old, fresh] = [before.textContent, after.textContent];
    beside(pair, old, fresh, pair.dataset.format, [before.getAttribute("aria-label"), after.getAttribute("aria-label")]);
  }
  for (const pre of details.querySelectorAll("pre[data-text]")) {
    const parent = document.createElement("div");
    parent.className = "editor reading";
    pre.replaceWith(parent);
    new EditorView({
      parent,
      state: EditorState.create({ doc: pre.textContent, extensions: [common(pre.getAttribute("aria-label")), languageOf(pre.dataset.text), readOnly] }),
    });
  }
}

/** The texts within an element, as they are unfolded. */
export function highlight(within) {
  for (const details of within.querySelectorAll("details.layer")) {
    open(details);
    details.addEventListener("toggle", () => open(details));
  }
}
highlight(document);
