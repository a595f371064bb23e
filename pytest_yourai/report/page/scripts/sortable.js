// Tables that are sorted by each of their columns, and filtered.

// `drawn` is told how many rows are shown, each time that they are drawn.
// With `open`, a row is opened by a click or by Enter, and the arrow keys go from row to row.
function sortableTable({ id, label, columns, rows, filter, drawn, open }) {
  const body = el("tbody");
  const order = { column: null, direction: 1 };
  const compare = (a, b) => {
    const [left, right] = [order.column.value(a), order.column.value(b)];
    const isMissing = (value) => value === null || value === undefined || value === "";
    if (isMissing(left) || isMissing(right)) return isMissing(left) - isMissing(right);
    const sign = typeof left === "number" ? left - right : String(left).localeCompare(String(right));
    return sign * order.direction;
  };
  const redraw = () => {
    const shown = rows.filter((row) => (filter ? filter(row) : true));
    if (order.column) shown.sort(compare);
    body.replaceChildren(...shown.map((row) => tableRow(columns, row, open)));
    if (open && body.firstChild) body.firstChild.tabIndex = 0;
    drawn?.(shown.length);
  };
  const heads = columns.map((column) => tableHead(column, order, () => heads, redraw));
  const table = el(
    "div",
    { class: "table-scroll", role: "region", "aria-label": label, tabindex: "0" },
    el("table", { id, class: "rows" }, el("thead", {}, el("tr", {}, heads)), body),
  );
  if (open) body.addEventListener("keydown", (event) => goToRow(event));
  redraw();
  return { table, redraw };
}

function tableHead(column, order, heads, redraw) {
  if (!column.value) return el("td", {}, el("span", { class: "hidden" }, column.label));
  const sort = () => {
    order.direction = order.column === column ? -order.direction : (column.first ?? 1);
    order.column = column;
    for (const each of heads()) if (each.matches("th")) each.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order.direction > 0 ? "ascending" : "descending");
    redraw();
  };
  const head = el(
    "th",
    { scope: "col", "aria-sort": "none", class: column.isText ? "text" : null },
    el(
      "button",
      { type: "button", on: { click: sort } },
      el("span", { class: "name" }, column.label),
      column.unit ? el("span", { class: "unit" }, column.unit) : null,
    ),
  );
  return head;
}

function goToRow(event) {
  const { key, target } = event;
  if (!target.matches("tr")) return;
  if (key === "Enter" || key === " ") target.click();
  const next = { ArrowDown: target.nextElementSibling, ArrowUp: target.previousElementSibling }[key];
  if (next) {
    target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
  if (["Enter", " ", "ArrowDown", "ArrowUp"].includes(key)) event.preventDefault();
}

function tableRow(columns, row, open) {
  const attributes = { class: row.worse ? "worse" : null, "data-row": row.rowIndex, "aria-current": row.isCurrent };
  if (open) Object.assign(attributes, { tabindex: -1, on: { click: ({ currentTarget }) => open(row, currentTarget) } });
  return el(
    "tr",
    attributes,
    columns.map((column) =>
      el("td", { class: column.isText ? `text ${column.shape ?? ""}` : null }, column.show(row)),
    ),
  );
}
