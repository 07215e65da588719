// The form made from the namespace's schema. A field that is changed is set in the text by the server, which keeps the
// other lines and comments; the form is then asked for again, and what is being typed in it stays.
export class Form {
  /** `ask` posts to the server; `touched` is called when `editing` changes, `changed` with the layers as they are then. */
  constructor(element, layers, ask, touched, changed) {
    Object.assign(this, { element, layers, ask, touched, changed, asked: 0, editing: false, sending: Promise.resolve() });
    element?.addEventListener("input", (event) => { if (event.target.dataset.key !== undefined) this.edits(true); });
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
    if (nothing && input.type === "password") { this.edits(false); return; } // a secret that was not typed stays as it is
    this.send({ key, typed: input.value, remove: nothing });
  }

  edits(editing) {
    this.editing = editing;
    this.touched();
  }

  /** Once all that was typed into fields is in the text. */
  async settled() {
    if (this.editing && this.element.contains(document.activeElement)) document.activeElement.blur();
    await this.sending;
    if (this.editing) this.edits(false); // it was typed and taken back
  }

  /** One after the other, for each begins from the text that the one before has left. */
  send(body) {
    this.sending = this.sending.then(() => this.set(body));
  }

  async set(body) {
    const layer = document.getElementById("form-layer")?.value || null;
    const answer = await this.ask("/set", { content: this.layers.content, layer, ...body });
    this.edits(false);
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
