// The form made from the namespace's schema. A field that is changed is set in the text by the server, which keeps the
// other lines and comments; the form is then asked for again, and what is being typed in it stays.
export class Form {
  /** `ask` posts to the server; `changed` is called with the layers as they are then. */
  constructor(element, layers, ask, changed) {
    Object.assign(this, { element, layers, ask, changed, asked: 0 });
    element?.addEventListener("change", (event) => {
      const { key } = event.target.dataset;
      if (key !== undefined) this.put(event.target, key);
    });
    element?.addEventListener("click", (event) => {
      const { unset } = event.target.closest("[data-unset]")?.dataset ?? {};
      if (unset !== undefined) this.send({ key: unset, remove: true });
    });
    element?.addEventListener("submit", (event) => event.preventDefault());
  }

  put(input, key) {
    const nothing = input.value === "" && (input.tagName === "SELECT" || input.type === "password" || input.inputMode === "decimal");
    if (nothing && input.type === "password") return; // a secret that was not typed stays as it is
    this.send({ key, typed: input.value, remove: nothing });
  }

  async send(body) {
    const layer = document.getElementById("form-layer")?.value || null;
    const answer = await this.ask("/set", { content: this.layers.content, layer, ...body });
    if (answer) this.changed((await answer.json()).layers);
    else this.load();
  }

  async load() {
    if (!this.element) return;
    const mine = (this.asked += 1);
    const answer = await this.ask("/form", { content: this.layers.content });
    if (!answer) return;
    const html = await answer.text();
    if (mine !== this.asked) return;
    if (!this.element.firstElementChild) this.element.innerHTML = html;
    else globalThis.Idiomorph.morph(this.element, html, { morphStyle: "innerHTML", ignoreActiveValue: true });
  }
}
