// Asking the server while somebody edits, and telling what went wrong or has happened; nothing here leaves the page.
const at = (id) => document.getElementById(id);

/** What went wrong: a text, or the problem that the server answered. */
export function trouble(what) {
  const problem = typeof what === "string" ? Object.assign(document.createElement("p"), { className: "problem", textContent: what }) : what;
  at("trouble").replaceChildren(problem);
}

/** What has happened; `buttons` are pairs of words and what they do. */
export function notice(text, ...buttons) {
  at("notice").replaceChildren(text, ...buttons.map(([label, act]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", () => { at("notice").hidden = true; act(); });
    return button;
  }));
  at("notice").hidden = false;
}

/** Asks below `url`; answers a response that is ok or of a status that is `wanted`, else null after telling why. */
export function asker(url, words) {
  return async (path, body, wanted = []) => {
    const post = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    let answer;
    try {
      answer = await fetch(url + path, { ...(body === undefined ? {} : post), redirect: "manual", cache: "no-store" });
    } catch {
      trouble(words.failed);
      return null;
    }
    if (answer.type === "opaqueredirect" || answer.status === 401) { trouble(words.ended); return null; }
    if (answer.ok || wanted.includes(answer.status)) { at("trouble").replaceChildren(); return answer; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const problem = page.querySelector(".problem");
    trouble(problem ? document.importNode(problem, true) : words.failed);
    return null;
  };
}
