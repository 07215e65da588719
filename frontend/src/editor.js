// What an editing or comparing page needs of CodeMirror. The pages' policy asks for the nonce of styles:
// `EditorView.cspNonce.of(nonce)` among the extensions.
export { basicSetup, minimalSetup } from "codemirror";
export {
  Annotation, ChangeSet, Compartment, EditorSelection, EditorState, Facet, Prec, RangeSet, RangeSetBuilder,
  StateEffect, StateField, Text, Transaction, countColumn,
} from "@codemirror/state";
export {
  Decoration, EditorView, GutterMarker, ViewPlugin, WidgetType, crosshairCursor, drawSelection, dropCursor, gutter,
  highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, hoverTooltip, keymap, lineNumbers, placeholder,
  rectangularSelection, showPanel, showTooltip, tooltips,
} from "@codemirror/view";
export {
  HighlightStyle, bracketMatching, defaultHighlightStyle, ensureSyntaxTree, foldAll, foldEffect, foldGutter, foldKeymap,
  foldable, forceParsing, indentOnInput, indentUnit, language, syntaxHighlighting, syntaxTree, unfoldAll,
} from "@codemirror/language";
export {
  defaultKeymap, history, historyField, historyKeymap, indentLess, indentMore, indentWithTab, isolateHistory, redo,
  redoDepth, standardKeymap, toggleComment, toggleTabFocusMode, undo, undoDepth,
} from "@codemirror/commands";
export {
  SearchCursor, SearchQuery, closeSearchPanel, findNext, findPrevious, getSearchQuery, gotoLine,
  highlightSelectionMatches, openSearchPanel, search, searchKeymap, searchPanelOpen, setSearchQuery,
} from "@codemirror/search";
export {
  autocompletion, closeBrackets, closeBracketsKeymap, completeFromList, completionKeymap, completionStatus,
  startCompletion,
} from "@codemirror/autocomplete";
export {
  closeLintPanel, diagnosticCount, forEachDiagnostic, forceLinting, lintGutter, lintKeymap, linter, nextDiagnostic,
  openLintPanel, previousDiagnostic, setDiagnostics, setDiagnosticsEffect,
} from "@codemirror/lint";
export {
  MergeView, acceptChunk, diff, getChunks, getOriginalDoc, goToNextChunk, goToPreviousChunk, originalDocChangeEffect,
  presentableDiff, rejectChunk, uncollapseUnchanged, unifiedMergeView, updateOriginalDoc,
} from "@codemirror/merge";
export { yaml, yamlLanguage } from "@codemirror/lang-yaml";
export { json, jsonLanguage, jsonParseLinter } from "@codemirror/lang-json";
export { classHighlighter, highlightTree, tags } from "@lezer/highlight";
