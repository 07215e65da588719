// The dialogs of layers: adding one, and naming, ordering and removing the one that is edited.
const at = (id) => document.getElementById(id);

/** Has the dialogs work on `layers`; `changed` is called after each deed. */
export function layerDialogs(layers, words, changed) {
  for (const dialog of document.querySelectorAll("#layer-new, #layer-edit")) {
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const { elements } = event.target;
      const facts = { name: elements.name.value, format: elements.format.value, dimension: elements.dimension.value };
      const removing = event.submitter?.value === "remove";
      const own = dialog.id === "layer-edit" ? layers.all[layers.current] : null;
      const taken = !removing && layers.all.some((layer) => layer !== own && layer.name === facts.name);
      elements.name.setCustomValidity(taken ? words.called : "");
      if (taken) { elements.name.reportValidity(); return; }
      if (removing) layers.all.splice(layers.current, 1);
      else if (own) {
        const fresh = layers.layer({ ...facts, text: own.state.doc.toString() });
        fresh.crlf = own.crlf;
        if (own.format === facts.format && own.name === facts.name) fresh.state = own.state; // its history stays
        layers.all.splice(layers.current, 1);
        layers.current = Number(elements.place.value);
        layers.all.splice(layers.current, 0, fresh);
      } else layers.current = layers.all.push(layers.layer(facts)) - 1;
      dialog.close();
      changed();
    });
    dialog.querySelector("[name=name]").addEventListener("input", (event) => event.target.setCustomValidity(""));
  }
  at("layer-open").addEventListener("click", () => {
    const { elements } = at("layer-edit").querySelector("form");
    const layer = layers.all[layers.current];
    Object.assign(elements.name, { value: layer.name });
    elements.format.value = layer.format;
    elements.dimension.value = layer.dimension;
    elements.place.replaceChildren(...layers.all.map((one, index) => new Option(`${index + 1}`, index, false, index === layers.current)));
  });
}
