// Lists that are filtered as one types: what is empty or as usual is left out of the address, so that it can be handed on.
document.addEventListener("htmx:configRequest", (event) => {
  if (!event.detail.elt.closest("[data-lean]")) return;
  const asked = event.detail.formData;
  const usual = { sort: "name", view: "merged" };
  for (const [name, value] of [...asked.entries()]) {
    if (value === "" || usual[name] === value) asked.delete(name, value);
  }
});
