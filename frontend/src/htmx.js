// A classic script: it leaves `htmx` behind, for attributes in pages and for the console's own modules.
import htmx from "htmx.org";

Object.assign(htmx.config, {
  allowEval: false, // the pages' policy forbids it; this makes htmx say so
  allowScriptTags: false, // what is exchanged in a page brings no scripts
  historyCacheSize: 0, // configuration is not left in the browser's storage: going back asks the server
  includeIndicatorStyles: false, // a <style> that the policy would refuse; the stylesheet has them
  selfRequestsOnly: true,
});

globalThis.htmx = htmx;
