"use strict";
// Headings of sortable tables become buttons. Without this script tables are as they were written, best first.
// A cell sorts by data-value, a number or empty for "none", which comes last either way; else by its text.
const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const first = head.dataset.sort;
    if (!first) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      for (const body of table.querySelectorAll("tbody:not(.references)")) {  // each division by itself
        const rows = [...body.rows].filter((row) => row.cells.length === heads.length);
        body.append(...rows.sort((a, b) => compare(value(a, column), value(b, column), sign)));
      }
    });
  });
}
