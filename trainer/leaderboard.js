"use strict";

// A header sorts its table: first ascending, then descending, by unrounded values. Missing values stay last.
function compare(left, right, numeric) {
  return numeric ? Number(left) - Number(right) : left.localeCompare(right, "en", { numeric: true });
}

function sortTable(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  const numeric = header.classList.contains("number");
  const value = (row) => row.cells[column].dataset.value;
  const rows = Array.from(table.tBodies[0].rows);
  const present = rows.filter((row) => value(row) !== "");
  present.sort((one, other) => compare(value(one), value(other), numeric) * (descending ? -1 : 1));
  table.tBodies[0].append(...present, ...rows.filter((row) => value(row) === ""));
  for (const other of table.tHead.rows[0].cells) {
    other.removeAttribute("aria-sort");
  }
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

// A row stays when it and its table's title hold every word of the filter; a table without a row goes.
function filterRows(root, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = Array.from(root.querySelectorAll("tbody tr"));
  for (const row of rows) {
    const title = row.closest("article").querySelector("h3").textContent;
    const content = [title, ...Array.from(row.cells, (cell) => cell.textContent)].join(" ").toLowerCase();
    row.hidden = !words.every((word) => content.includes(word));
  }
  for (const article of root.querySelectorAll("article")) {
    article.hidden = !article.querySelector("tbody tr:not([hidden])");
  }
  const shown = rows.filter((row) => !row.hidden).length;
  root.querySelector(".filter output").textContent = words.length ? `${shown} of ${rows.length} rows` : "";
}

// For tables under an element; they may be replaced by others later.
function start(root) {
  root.addEventListener("click", (event) => {
    const button = event.target.closest("thead button");
    if (button) sortTable(button.closest("th"));
  });
  root.addEventListener("input", (event) => {
    if (event.target.matches(".filter input")) filterRows(root, event.target.value);
  });
}
