// Before anything is painted: the theme that was chosen here, else what the system prefers. Not a module, so it runs at once.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    let kept = null;
    try { kept = localStorage.getItem("herz-theme"); } catch { /* storage may be forbidden */ }
    document.documentElement.dataset.theme = kept ?? (dark.matches ? "dark" : "light");
  };
  dark.addEventListener("change", show);
  show();
})();
