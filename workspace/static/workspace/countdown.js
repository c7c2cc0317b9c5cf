// Counts down what is left of a time to live, from the seconds that were left when the page was made: the reader's
// clock measures how long, and need not tell the right time.
"use strict";

const LENGTHS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
const ends = new WeakMap();

function inTwoUnits(seconds) {
  const first = LENGTHS.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const parts = LENGTHS.slice(first, first + 2).map(([unit, size], index) => {
    const amount = Math.floor(index ? (seconds % LENGTHS[first][1]) / size : seconds / size);
    return amount ? `${amount} ${unit}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

function countDown() {
  for (const element of document.querySelectorAll("[data-left]")) {
    if (!ends.has(element)) {
      ends.set(element, performance.now() + 1000 * Number(element.dataset.left));
      element.title = full.format(new Date(element.dataset.ends));
    }
    const left = Math.ceil((ends.get(element) - performance.now()) / 1000);
    if (left > 0) {
      element.textContent = inTwoUnits(left);
    } else {
      element.textContent = "expired";
      delete element.dataset.left;
      element.dispatchEvent(new Event("expired", { bubbles: true }));
    }
  }
}

document.addEventListener("DOMContentLoaded", () => { countDown(); setInterval(countDown, 250); });
document.addEventListener("htmx:afterSettle", countDown);
