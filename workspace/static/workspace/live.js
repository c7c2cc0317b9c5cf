// Writes what the server sends of an address into the element that names it, for as long as the page is open.
"use strict";

for (const element of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(element.dataset.live);
  source.addEventListener("message", ({ data }) => {
    element.innerHTML = data;
    writeTimes(element);
  });
  addEventListener("pagehide", () => source.close());
}
