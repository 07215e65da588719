// CodeMirror as this console uses it: by the page's colours, with the page's nonce, readable on a phone.
import {
  EditorState, EditorView, basicSetup, classHighlighter, highlightSpecialChars, indentUnit, json, syntaxHighlighting, yaml,
} from "../vendor/editor.js";

const nonce = document.querySelector("meta[name=style-nonce]").content;

const phrases = JSON.parse(document.getElementById("phrases").textContent);

/** What takes no room or turns the line's direction, besides what the editor shows as dots by itself. */
const HIDDEN = /[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200c\u200d\u2060-\u2064\u202a-\u202c\u2068\u206a-\u206f\u3164\ufe00-\ufe0f\uffa0]/gu;

const theme = EditorView.theme({
  "&": { backgroundColor: "var(--sheet)", color: "var(--ink)", fontSize: "13.5px" },
  ".cm-content": { fontFamily: "var(--mono)", caretColor: "var(--ink)" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-gutters": { backgroundColor: "var(--sunk)", color: "var(--dim)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--sunk) 60%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--line)" },
  "&.cm-focused .cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused": { outline: "2px solid var(--focus)" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--link) 30%, transparent)" },
  ".cm-panels": { backgroundColor: "var(--sunk)", color: "var(--ink)" },
  ".cm-tooltip": { backgroundColor: "var(--sheet)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-specialChar": { color: "var(--bad)", fontWeight: "bold" },
  ".cm-textfield": { backgroundColor: "var(--sheet)", color: "var(--ink)" },
  ".cm-button": { backgroundImage: "none", backgroundColor: "var(--sheet)", color: "var(--ink)" },
});

/** What every editor of the console has; `label` names it for a screen reader. */
export const common = (label) => [
  EditorView.cspNonce.of(nonce),
  EditorState.phrases.of(phrases),
  basicSetup,
  highlightSpecialChars({ addSpecialChars: HIDDEN }),
  EditorView.lineWrapping,
  syntaxHighlighting(classHighlighter),
  indentUnit.of("  "),
  theme,
  EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", autocapitalize: "off" }),
];

export const languageOf = (format) => (format === "json" ? json() : format === "yaml" ? yaml() : []);

export const readOnly = [EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.contentAttributes.of({ tabindex: "0" })];

export { EditorState, EditorView };
