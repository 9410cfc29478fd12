"use strict";
// Without this script everything is there; with it, tables can be filtered and sorted.
for (const input of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
  const output = input.parentElement.querySelector("output");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !wanted.every((word) => texts.get(row).includes(word));
      shown += row.hidden ? 0 : 1;
    }
    const all = rows.length.toLocaleString("en");
    output.textContent = shown === rows.length ? `${all} rows` : `${shown.toLocaleString("en")} of ${all} rows`;
  });
}

const compare = new Intl.Collator("en", { numeric: true }).compare;
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isRising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isRising ? "ascending" : "descending");
      const place = head.cellIndex;
      const isNumeric = head.classList.contains("number");
      const key = (row) => row.cells[place].dataset.sort;
      const order = isNumeric ? (a, b) => a - b : compare;
      const sorted = [...body.rows].sort((a, b) => {
        // What is empty comes last, both ways.
        if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
        return isRising ? order(key(a), key(b)) : order(key(b), key(a));
      });
      body.append(...sorted);
    });
  }
}
