// What every page does in the browser: the theme, times in the reader's zone, copying, confirming, charts.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";

document.getElementById("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
  document.dispatchEvent(new Event("themechange"));
});
dark.addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];

function ago(moment) {
  let amount = (moment - Date.now()) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) return relative.format(Math.round(amount), unit);
    amount /= size;
  }
}

function writeTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    element.title = full.format(moment);
    element.textContent = { relative: ago, full: full.format, day: day.format }[element.dataset.form](moment);
  }
}

document.addEventListener("click", async (event) => {
  const toggler = event.target.closest("[data-toggles]");
  if (toggler) {
    const opened = document.getElementById(toggler.dataset.toggles).classList.toggle("open");
    toggler.setAttribute("aria-expanded", opened);
  }
  const copier = event.target.closest("[data-copies]");
  if (copier) {
    await navigator.clipboard.writeText(document.getElementById(copier.dataset.copies).textContent);
    const label = copier.textContent;
    copier.textContent = "Copied";
    setTimeout(() => { copier.textContent = label; }, 1500);
  }
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

// A form that takes a while says so on its button, and is not sent twice
document.addEventListener("submit", ({ target, defaultPrevented }) => {
  const button = target.dataset.busy && !defaultPrevented && target.querySelector("button");
  if (!button) return;
  button.dataset.label = button.textContent;
  button.textContent = target.dataset.busy;
  button.disabled = true;
});
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[data-label]")) {
    button.textContent = button.dataset.label;
    button.disabled = false;
  }
});

// A field that was refused is marked, says so to a screen reader, and has the cursor
function markRefused() {
  for (const problem of document.querySelectorAll(".problem[id$='-problem']:not([hidden])")) {
    const field = problem.closest("form")?.elements.namedItem(problem.id.slice(0, -"-problem".length));
    if (!(field instanceof HTMLElement)) continue;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", problem.id);
  }
  document.querySelector("[aria-invalid]")?.focus();
}

// A chart is drawn from the JSON that its canvas names: {labels, series: [{name, values}], money, kind}
const PALETTE = { light: ["#6d28d9", "#0891b2", "#d97706", "#be185d"], dark: ["#a78bfa", "#22d3ee", "#fbbf24", "#f472b6"] };
const charts = new Map();

function draw(canvas) {
  const data = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--muted");
  const line = style.getPropertyValue("--line");
  const colours = PALETTE[isDark() ? "dark" : "light"];
  const written = (value) => (data.money ? `£${Number(value.toPrecision(3))}` : new Intl.NumberFormat("en-GB").format(value));
  charts.get(canvas)?.destroy();
  charts.set(canvas, new Chart(canvas, {
    type: data.kind ?? "bar",
    data: {
      labels: data.labels,
      datasets: data.series.map((series, index) => ({
        label: series.name, data: series.values, backgroundColor: colours[index % colours.length],
        borderColor: colours[index % colours.length], borderRadius: 3, maxBarThickness: 36,
        borderWidth: data.kind === "line" ? 2 : 0, pointRadius: 0,
      })),
    },
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { display: data.series.length > 1, position: "bottom", labels: { color: ink, boxWidth: 12, boxHeight: 12 } },
        tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${written(item.parsed.y)}` } },
      },
      scales: {
        x: { stacked: true, grid: { display: false }, ticks: { color: ink, maxRotation: 0, autoSkipPadding: 12 }, border: { color: line } },
        y: { stacked: true, beginAtZero: true, grid: { color: line }, border: { display: false },
             ticks: { color: ink, maxTicksLimit: 5, precision: data.money || data.kind === "line" ? undefined : 0, callback: written } },
      },
    },
  }));
}

function drawAll() {
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) draw(canvas);
}

document.addEventListener("themechange", drawAll);
document.addEventListener("htmx:afterSettle", () => {
  writeTimes(document);
  for (const [canvas, chart] of charts) {
    if (canvas.isConnected) continue;
    chart.destroy();
    charts.delete(canvas);
  }
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) if (!charts.has(canvas)) draw(canvas);
});
document.addEventListener("DOMContentLoaded", () => {
  writeTimes(document);
  markRefused();
  drawAll();
  setInterval(() => writeTimes(document), 30000);
});
