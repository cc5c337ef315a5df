"use strict";
// The page reads without this script. It adds filters, keys, and a dialog for each cell.

const form = document.querySelector(".filters");
const table = document.querySelector("table");
const dialog = document.querySelector("dialog");
const rows = [...table.querySelectorAll("tr[data-id]")];
const FAILING = new Set(["FAIL", "ERROR", "XPASS"]);
let current = null; // the one cell that Tab reaches; arrow keys take it along

const cellsOf = (row) => [...row.querySelectorAll("td")];
const textOf = (row) => row.querySelector("th").textContent.toLowerCase();
const seen = (element) => element.checkVisibility();

function matches(row, wanted) {
  const outcomes = cellsOf(row).filter((cell) => !cell.hidden).map((cell) => cell.dataset.outcome);
  if (!textOf(row).includes(wanted.text.trim().toLowerCase())) return false;
  if (wanted.category && row.dataset.category !== wanted.category) return false;
  if (wanted.outcome === "failing") return outcomes.some((outcome) => FAILING.has(outcome));
  if (wanted.outcome === "differing") return new Set(outcomes).size > 1;
  return !wanted.outcome || outcomes.includes(wanted.outcome);
}

function filter() {
  const wanted = Object.fromEntries(new FormData(form));
  for (const element of document.querySelectorAll("[data-column]")) {
    element.hidden = wanted.column !== "" && element.dataset.column !== wanted.column;
  }
  for (const row of rows) row.hidden = !matches(row, wanted);
  for (const body of table.tBodies) body.hidden = !rows.some((row) => row.parentNode === body && !row.hidden);
  const left = rows.filter((row) => !row.hidden).length;
  form.querySelector("output").textContent = `${left} of ${rows.length} cases`;
  if (!current || !seen(current)) makeCurrent([...table.querySelectorAll("td")].find(seen));
}

function makeCurrent(cell) {
  if (current) current.tabIndex = -1;
  current = cell || null;
  if (current) current.tabIndex = 0;
}

const STEPS = {
  ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0],
  Home: [0, -Infinity], End: [0, Infinity], PageDown: [10, 0], PageUp: [-10, 0],
};

function move(event) {
  const cell = event.target.closest("td");
  if (!cell || event.altKey || event.metaKey) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open(cell);
  } else if (event.key in STEPS) {
    event.preventDefault();
    const across = event.ctrlKey && ["Home", "End"].includes(event.key);
    const [down, right] = STEPS[event.key];
    const visible = rows.filter(seen);
    const clamp = (i, length) => Math.max(0, Math.min(length - 1, i));
    const row = visible[clamp(visible.indexOf(cell.parentNode) + (across ? right : down), visible.length)];
    const line = cellsOf(row).filter(seen);
    const at = cellsOf(cell.parentNode).filter(seen).indexOf(cell);
    makeCurrent(line[clamp(at + right, line.length)]);
    current.focus();
  }
}

function open(cell) {
  makeCurrent(cell);
  const row = cell.parentNode;
  const link = cell.querySelector("a");
  const box = dialog.querySelector("div");
  if (link) {
    const article = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    box.replaceChildren(...[...article.childNodes].map((node) => node.cloneNode(true)));
    box.querySelector("h3").id = "opened";
  } else {
    const heading = document.createElement("h3");
    heading.id = "opened";
    heading.textContent = `${cell.textContent.trim() || "not run"}  ${row.dataset.id}`;
    const meaning = document.querySelector(`[data-name="${cell.dataset.outcome}"]`);
    const reason = row.querySelector(".reason");
    const lines = [reason.textContent, meaning?.textContent, cell.title].filter(Boolean);
    box.replaceChildren(heading, ...lines.map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }));
  }
  dialog.showModal();
}

async function copy(button) {
  const command = button.parentNode.querySelector(".command");
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {
    // Not allowed here: select the command, and copy what is selected.
    getSelection().selectAllChildren(command);
    if (!document.execCommand("copy")) return;
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

for (const element of document.querySelectorAll(".filters, .hint, .copy")) element.hidden = false;
for (const details of document.querySelectorAll(".failures details")) details.open = false;
table.setAttribute("role", "grid");
for (const cell of table.querySelectorAll("td")) cell.tabIndex = -1;
for (const link of table.querySelectorAll("td a")) link.tabIndex = -1;

form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
table.addEventListener("keydown", move);
table.addEventListener("click", (event) => {
  const cell = event.target.closest("td");
  if (!cell) return;
  event.preventDefault();
  open(cell);
});
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => current.focus());
document.addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (button) copy(button);
});
filter();
