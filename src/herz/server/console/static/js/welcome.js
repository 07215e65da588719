// The code of an invitation stands behind the # of its link: into the form with it, and out of the history.
const code = decodeURIComponent(location.hash.slice(1));
const field = document.querySelector("[data-code]");
if (code && field) {
  field.value = code;
  history.replaceState(null, "", location.pathname + location.search);
  const name = document.querySelector("input[name=name]");
  (name.value ? document.querySelector("input[name=password]") : name).focus();
}
