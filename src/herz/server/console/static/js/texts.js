// Words that scripts show, in the reader's language: the page carries them.
const words = JSON.parse(document.getElementById("texts").textContent);
export const language = document.documentElement.lang;
export const text = (name) => words[name] ?? name;
