// Uploads an adapter by drag and drop or by choice, with its progress, to the same API that applications use.
"use strict";

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const picker = document.getElementById("upload-files");
const progress = document.getElementById("upload-progress");
const bar = progress.querySelector("progress");
const said = progress.querySelector("p");

function tell(field, message) {
  const problem = document.getElementById(`upload-${field === "id" ? "id" : "files"}-problem`);
  problem.textContent = message;
  problem.hidden = !message;
}

function choose() {
  const size = (file) => `${file.name} (${(file.size / 1048576).toFixed(1)} MiB)`;
  document.getElementById("chosen").textContent = [...picker.files].map(size).join(", ");
  const id = document.getElementById("upload-id");
  if (!id.value) id.focus();
}

picker.addEventListener("change", choose);
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
drop.addEventListener("drop", (event) => { picker.files = event.dataTransfer.files; choose(); });

form.addEventListener("submit", (event) => {
  event.preventDefault();
  tell("id", "");
  tell("files", "");
  const button = form.querySelector("button");
  const request = new XMLHttpRequest();
  request.open("POST", "/v1/adapters");
  request.setRequestHeader("X-CSRFToken", document.querySelector("meta[name=csrf-token]").content);
  request.responseType = "json";
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = (100 * loaded) / total;
    said.textContent = loaded < total ? `${Math.round(bar.value)} % sent` : "Checking it against the base model…";
  });
  request.addEventListener("load", () => {
    if (request.status === 201) return location.assign(`/adapters/${encodeURIComponent(request.response.spec.id)}`);
    const { message, param } = request.response?.error ?? { message: `The server answered ${request.status}.` };
    tell(param, message);
  });
  request.addEventListener("error", () => tell("files", "The upload was cut off. Try again."));
  request.addEventListener("loadend", () => { button.disabled = false; progress.hidden = true; });
  button.disabled = true;
  progress.hidden = false;
  const fields = new FormData(form);
  if (!fields.get("name")) fields.delete("name");
  request.send(fields);
});
