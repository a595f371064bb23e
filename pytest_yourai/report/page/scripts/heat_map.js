// Batch size by rank, for each number of layers, length and checkpointing.

const MEASURES = {
  minimum: { label: "Memory", of: (row) => row.minimum_memory_bytes },
  speed: { label: "Tokens/s", of: (row) => row.tokens_per_second },
  outcome: { label: "Outcome", of: () => null },
};

function heatMap() {
  const holder = el("div", { id: "heat-holder" });
  const buttons = Object.entries(MEASURES).map(([name, { label }]) =>
    el(
      "button",
      {
        type: "button",
        "aria-pressed": String(state.measure === name),
        "data-measure": name,
        on: {
          click: () => {
            state.measure = name;
            for (const each of buttons)
              each.setAttribute("aria-pressed", String(each.dataset.measure === name));
            drawHeatMap(holder);
          },
        },
      },
      label,
    ),
  );
  drawHeatMap(holder);
  return section(
    "heat-map",
    "Heat map",
    "Heat map",
    el("div", { class: "switch", role: "group", "aria-label": "What the heat map shows" }, buttons),
    holder,
  );
}

const unique = (values) => [...new Set(values)].sort((a, b) => a - b);

function drawHeatMap(holder) {
  const { rows } = profile();
  const measured = rows.map(MEASURES[state.measure].of).filter(isNumber);
  const scale = {
    least: Math.min(...measured),
    most: Math.max(...measured),
    unit: memoryUnit(measured),
    batches: unique(rows.map((row) => row.batch_size)),
    ranks: unique(rows.map((row) => row.lora_rank)),
  };
  holder.replaceChildren(
    heatLegend(scale, measured.length),
    el("div", { class: "heat-maps" }, heatGroups(rows).map((group) => heatTable(group, scale))),
  );
  markChosen();
}

function heatLegend(scale, count) {
  const letters = profile()
    .outcomes.filter(({ outcome }) => outcome !== "ok" || state.measure === "outcome")
    .map(({ outcome, count: many }) =>
      el("li", {}, badge(outcome), el("span", { class: "muted" }, ` ${number(many)}`)),
    );
  const list = letters.length ? el("ul", { class: "letters" }, letters) : null;
  if (state.measure === "outcome" || !count) return el("div", { class: "legend" }, list, answerLegend());
  const isMemory = state.measure === "minimum";
  const [worst, best] = isMemory ? [scale.most, scale.least] : [scale.least, scale.most];
  const end = (value) => (isMemory ? memory(value) : speed(value));
  const words = profile().has_minima ? "minimum memory" : "peak memory (no minimum was recorded)";
  return el(
    "div",
    { class: "legend" },
    el(
      "p",
      {},
      isMemory ? `${words}, less is better: ` : "tokens per second, more is better: ",
      el("span", {}, end(worst)),
      el("span", {
        class: "ramp",
        "aria-hidden": "true",
        style: { background: `linear-gradient(to right, ${css(shade(0))}, ${css(shade(1))})` },
      }),
      el("span", {}, end(best)),
    ),
    list,
    answerLegend(),
  );
}

function answerLegend() {
  const names = profile().answers.flatMap((each) => each.names);
  if (!names.length) return null;
  return el("ul", { class: "letters" }, names.map((name) => el("li", {}, answerNames([name]))));
}

function heatGroups(rows) {
  const { axes } = profile();
  const order = (row) => [...axes.map((axis) => axisOrder(row[axis.key])), row.lora_layers];
  const groups = new Map();
  rows.forEach((row, index) => {
    const key = order(row).join();
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push({ row, index });
  });
  return [...groups.values()].sort((a, b) => {
    const [left, right] = [order(a[0].row), order(b[0].row)];
    const place = left.findIndex((value, at) => value !== right[at]);
    if (place < 0) return 0;
    return left[place] < right[place] ? -1 : 1;
  });
}

function heatTitle(row) {
  const parts = [plural(row.lora_layers, "LoRA layer")];
  for (const axis of profile().axes.filter(({ key }) => row[key] !== null)) {
    parts.push(axis.unit ? axisText(axis, row) : `${axis.title.toLowerCase()} ${axisText(axis, row)}`);
  }
  return parts.join(", ");
}

function heatTable(group, scale) {
  const cells = new Map(group.map((cell) => [`${cell.row.batch_size},${cell.row.lora_rank}`, cell]));
  return el(
    "div",
    { class: "heat-scroll" },
    el(
      "table",
      { class: "heat" },
      el("caption", {}, heatTitle(group[0].row)),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col", class: "corner" }, "rank \\ batch"),
          scale.batches.map((batch) => el("th", { scope: "col" }, number(batch))),
        ),
      ),
      el(
        "tbody",
        {},
        scale.ranks.filter((rank) => isNumber(rank) === isNumber(group[0].row.lora_rank)).map((rank) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, isNumber(rank) ? number(rank) : "full"),
            scale.batches.map((batch) =>
              el("td", {}, heatCell(cells.get(`${batch},${rank}`), scale)),
            ),
          ),
        ),
      ),
    ),
  );
}

function heatCell(cell, scale) {
  if (!cell) return null;
  const { row, index } = cell;
  const isOk = row.outcome === "ok";
  const value = MEASURES[state.measure].of(row);
  const { letter, words, kind } = DATA.outcomes[row.outcome];
  const text = isNumber(value)
    ? number(value / (state.measure === "minimum" ? scale.unit.size : 1), state.measure === "minimum" ? 1 : 0)
    : "";
  const signs = signsOf(index);
  const said = [row.name, words, memory(row.minimum_memory_bytes), speed(row.tokens_per_second), ...answersOf(index)];
  const button = el(
    "button",
    {
      type: "button",
      class: `cell ${kind}`,
      "data-row": index,
      "aria-label": said.filter((each) => each !== MISSING).join(", "),
      on: { click: () => showTrial(index, button) },
    },
    text && isOk ? text : null,
    isOk && text ? null : el("span", { class: "letter" }, letter),
    !isOk && text ? el("span", { class: "under" }, text) : null,
    signs ? el("span", { class: "best" }, signs) : null,
  );
  if (isOk && isNumber(value)) {
    const span = scale.most - scale.least;
    const share_ = span ? (value - scale.least) / span : 0.5;
    const rgb = shade(state.measure === "minimum" ? 1 - share_ : share_);
    button.style.setProperty("background", css(rgb));
    button.style.setProperty("color", inkOn(rgb));
  }
  return button;
}
