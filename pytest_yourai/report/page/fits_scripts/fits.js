// What fits where: a row for each machine, a column for each model, length and recipe.

const wanted = { memory: Infinity, text: "" };

const CELLS = new Map(DATA.cells.map((cell) => [`${cell.machine} ${cell.training}`, cell]));

const cellOf = (row, index) => CELLS.get(`${row.index} ${index}`);

// What was measured comes first, the fastest at the top; then what was carried over, by its needs.
function cellOrder(cell) {
  if (!cell || !cell.config) return null;
  return cell.speed ?? -1 / (cell.needs ?? 1);
}

function cellText(cell) {
  if (!cell) return "";
  const kind = cell.config ? (cell.is_measured ? "ok" : "unknown") : "memory";
  return el(
    "span",
    { class: `badge fit ${kind}`, title: cell.about },
    cell.lines.map((line) => el("span", { class: "line" }, line)),
  );
}

function trainingColumn(training) {
  return {
    label: training.model,
    unit: `${training.held}; ${training.recipe}`,
    first: -1,
    isText: true,
    value: (row) => cellOrder(cellOf(row, training.index)),
    show: (row) => cellText(cellOf(row, training.index)),
  };
}

function machineColumns() {
  return [
    { label: "Machine", isText: true, value: (row) => row.title, show: (row) => row.title },
    { label: "Memory", value: (row) => row.memory_bytes, show: (row) => row.memory },
    { label: "MLX", isText: true, value: (row) => row.software, show: (row) => row.software },
  ];
}

const isShown = (training) =>
  `${training.model} ${training.held} ${training.recipe}`.toLowerCase().includes(wanted.text);

function fitsTable(count) {
  const trainings = DATA.trainings.filter(isShown);
  const rows = DATA.machines.filter((row) => trainings.some(({ index }) => cellOf(row, index)));
  return sortableTable({
    id: "fits",
    label: "What fits where",
    columns: [...machineColumns(), ...trainings.map(trainingColumn)],
    rows,
    filter: (row) => wanted.memory === Infinity || (row.memory_bytes ?? Infinity) <= wanted.memory,
    drawn: (shown) => {
      count.textContent = `${plural(shown, "machine")}, ${plural(trainings.length, "column")}`;
    },
  });
}

function render() {
  const count = el("p", { class: "muted", role: "status" });
  const place = el("div", { id: "fits-table" });
  let table = null;
  const rebuild = () => {
    table = fitsTable(count);
    fill(place, table.table);
  };
  const sizes = [...new Set(DATA.machines.map((each) => each.memory_bytes).filter(isNumber))].sort((a, b) => a - b);
  const names = new Map(DATA.machines.map((each) => [each.memory_bytes, each.memory]));
  const byText = (event) => {
    wanted.text = event.target.value.trim().toLowerCase();
    rebuild();
  };
  rebuild();
  fill(
    document.getElementById("main"),
    section(
      "what-fits",
      "Table",
      `${plural(DATA.machines.length, "machine")}, ${plural(DATA.profiles, "profile")}`,
      el("p", { class: "muted" }, DATA.legend),
      el(
        "div",
        { class: "filters" },
        choice("by-memory", "Memory up to", [["", "any"], ...sizes.map((size) => [String(size), names.get(size)])], "", (value) => {
          wanted.memory = value ? Number(value) : Infinity;
          table.redraw();
        }),
        labelled(
          "by-text",
          "Model or recipe",
          el("input", { type: "search", placeholder: "llama, 4-bit, dora, ...", on: { input: byText } }),
        ),
        count,
      ),
      place,
    ),
  );
}

document.getElementById("footer").append(
  el("p", {}, `Made ${date(DATA.made_at)} by ${DATA.made_by}. GB means 1e9 bytes.`),
);
setUpTheme(() => {});
render();
document.documentElement.dataset.ready = "true";
