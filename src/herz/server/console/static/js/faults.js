// The faults of what is typed: asked of the server, marked in the text, and listed with a way to each.
import { setDiagnostics } from "../vendor/editor.js";

const text = (fault) => (fault.key ? `${fault.key}: ${fault.what}` : fault.what);

function element(tag, className, textContent) {
  return Object.assign(document.createElement(tag), { className, textContent });
}

export class Faults {
  /** `list` is where they are listed; `reach` is called with a fault that somebody wants to see. */
  constructor(list, layers, view, ask, words, reach) {
    Object.assign(this, { list, layers, view, ask, words, reach, all: [], asked: 0 });
  }

  /** How many a layer has. */
  of(index) {
    return this.all.filter((fault) => fault.layer === index).length;
  }

  /** Ask anew; true once the answer is of what is typed now. */
  async check() {
    const mine = (this.asked += 1);
    const answer = await this.ask("/check", { content: this.layers.content });
    if (!answer || mine !== this.asked) return false; // another text was asked about meanwhile
    ({ faults: this.all } = await answer.json());
    this.mark();
    const items = element("ul", "", "");
    items.append(...this.all.map((fault) => this.item(fault)));
    const head = element("p", this.all.length ? "badge bad" : "badge good", this.all.length ? `${this.words.faults}: ${this.all.length}` : this.words.well);
    this.list.replaceChildren(head, ...(this.all.length ? [items] : []));
    return true;
  }

  item(fault) {
    const item = document.createElement("li");
    const name = this.layers.all[fault.layer]?.name;
    if (name) {
      const where = [name, fault.line, fault.column].filter(Boolean).join(":");
      const jump = Object.assign(element("button", "quiet", where), { type: "button" });
      jump.addEventListener("click", () => this.reach(fault));
      item.append(jump, " ");
    }
    item.append(text(fault));
    return item;
  }

  /** Where a fault stands in the text of its layer, as far as is known. */
  span({ line, column }) {
    const { doc } = this.view.state;
    const { from, to } = doc.line(Math.min(Math.max(line ?? 1, 1), doc.lines));
    return { from: column ? Math.min(from + column - 1, to) : from, to };
  }

  /** Mark those of the layer that is edited. */
  mark() {
    if (!this.layers.all.length) return;
    const here = this.all.filter((fault) => fault.layer === this.layers.current);
    const marks = here.map((fault) => ({ ...this.span(fault), severity: "error", message: text(fault) }));
    this.view.dispatch(setDiagnostics(this.view.state, marks.sort((one, other) => one.from - other.from)));
  }
}
