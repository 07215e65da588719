// Dialogs that make something live: what must be typed depends on what was chosen. The server checks it again.
const word = (form) => {
  const input = form.querySelector("[data-word]");
  const forced = form.querySelector("[data-force]")?.checked;
  return forced ? `force ${input.dataset.word}` : input.dataset.word;
};
const needed = (form) => {
  const how = form.querySelector("[name=how]:checked")?.value;
  return how === undefined || how === "all";
};

function judge(form) {
  const input = form.querySelector("[data-word]");
  const asked = needed(form);
  for (const part of form.querySelectorAll("[data-needed]")) part.hidden = !asked;
  form.querySelector("[type=submit]").disabled = asked && input.value !== word(form);
}

// A script element of a page that was morphed is not run again: all is listened for at the document.
for (const kind of ["input", "change", "click"]) {
  document.addEventListener(kind, (event) => {
    const dialog = event.target.closest?.("[data-dialog]");
    const form = dialog ? document.getElementById(dialog.dataset.dialog)?.querySelector("form") : event.target.form ?? event.target.closest?.("form");
    if (form?.querySelector("[data-word]")) judge(form);
  });
}

// Who wrote it cannot approve it; who approved it can take that back. The page is the same for all who may approve.
function approvals() {
  const me = document.querySelector(".who")?.textContent.split(" · ")[0].trim();
  for (const box of document.querySelectorAll(".approval")) {
    const authors = box.dataset.authors.split("\n");
    const approve = box.querySelector("[data-approve]");
    if (approve) approve.disabled = authors.includes(me);
    const withdraw = box.querySelector("[data-withdraw]");
    if (withdraw) withdraw.hidden = ![...box.querySelectorAll("[data-approver]")].some((one) => one.dataset.approver === me);
  }
}
for (const form of document.querySelectorAll("form")) if (form.querySelector("[data-word]")) judge(form);
document.addEventListener("herz:fresh", () => {
  approvals();
  for (const form of document.querySelectorAll("form")) if (form.querySelector("[data-word]")) judge(form);
});
approvals();
