// A key that was chosen from the list is explained at once; one that is typed waits for Enter.
const field = document.getElementById("key");
field?.addEventListener("input", (event) => {
  const chosen = event.inputType === "insertReplacementText" || event.inputType === undefined;
  if (!chosen) return;
  const known = [...(field.list?.options ?? [])].some((option) => option.value === field.value);
  if (known) field.form.requestSubmit();
});
