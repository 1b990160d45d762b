// Tables sort by their headers: ascending, descending, then as they came. Empty cells stay last.
(() => {
  "use strict";
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const rank = (cell) => (cell.dataset.key !== undefined ? 0 : cell.dataset.empty !== undefined ? 2 : 1);
  const compare = (a, b, direction) => {
    const [kind, other] = [rank(a), rank(b)];
    if (kind !== other) return kind - other;
    if (kind === 0) return direction * (Number(a.dataset.key) - Number(b.dataset.key));
    return kind === 1 ? direction * words.compare(a.textContent, b.textContent) : 0;
  };
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => {
        const order = NEXT[header.getAttribute("aria-sort")];
        headers.forEach((one) => one.setAttribute("aria-sort", "none"));
        header.setAttribute("aria-sort", order);
        const rows = [...original];
        const direction = order === "descending" ? -1 : 1;
        if (order !== "none") rows.sort((a, b) => compare(a.cells[column], b.cells[column], direction));
        body.append(...rows);
      });
    });
  }
})();
