// Speed over memory: what is fastest for its memory, and what the budget leaves.

const measuredRows = () =>
  profile()
    .rows.map((row, index) => ({ row, index }))
    .filter(({ row }) => row.outcome === "ok" && isNumber(row.minimum_memory_bytes) && isNumber(row.tokens_per_second));

function hoverText({ row }) {
  const words = profile().has_minima ? "needs" : "peak";
  return [
    row.name,
    `${words} ${memory(row.minimum_memory_bytes)}, ${speed(row.tokens_per_second)}, ${time(row.step_time_s)} a step`,
    row.outcome === "ok" ? null : `${DATA.outcomes[row.outcome].words}: ${row.error ?? ""}`.slice(0, 90),
  ]
    .filter(Boolean)
    .map(plain)
    .join("<br>");
}

function memorySpeed() {
  if (measuredRows().length < FEWEST_POINTS) return null;
  const words = profile().has_minima ? "minimum memory" : "peak memory";
  return section(
    "memory-speed",
    "Speed",
    "Memory and speed",
    el(
      "p",
      { class: "muted" },
      `Each point is a configuration. Along the line nothing is faster with less memory. ${budgetNote()}`,
    ),
    chart("memory-speed-chart", `Tokens per second over ${words}; the table has the numbers`),
  );
}

function budgetEdge() {
  const { memory_limit_bytes: limit, has_minima: hasMinima, margin } = profile();
  if (!isNumber(limit)) return null;
  return hasMinima ? limit / margin : limit;
}

const isFarAway = (edge, most) => edge > most * 1.8;

function budgetNote() {
  const edge = budgetEdge();
  if (edge === null) return "";
  const { has_minima: hasMinima, margin, memory_limit_bytes: limit } = profile();
  const what = hasMinima
    ? `What needs up to ${memory(edge)} fits: the budget of ${memory(limit)} ÷ ${margin}.`
    : `The budget is ${memory(limit)}.`;
  const most = Math.max(...profile().rows.map((row) => row.minimum_memory_bytes ?? 0));
  return isFarAway(edge, most) ? `${what} That is outside of the chart.` : what;
}

function drawMemorySpeed() {
  const shown = profile();
  const points = measuredRows();
  if (!document.getElementById("memory-speed-chart")) return Promise.resolve();
  const failed = shown.rows
    .map((row, index) => ({ row, index }))
    .filter(({ row }) => row.outcome !== "ok" && isNumber(row.minimum_memory_bytes));
  const unit = memoryUnit([...points, ...failed].map(({ row }) => row.minimum_memory_bytes));
  const colour = colours();
  const x = ({ row }) => row.minimum_memory_bytes / unit.size;
  const common = (some) => ({
    mode: "markers",
    x: some.map(x),
    customdata: some.map(({ index }) => index),
    text: some.map(hoverText),
    hoverinfo: "text",
  });
  const batches = unique(points.map(({ row }) => row.batch_size));
  const frontier = shown.frontier.map((index) => ({ row: shown.rows[index], index }));
  const traces = [
    {
      ...common(frontier),
      y: frontier.map(({ row }) => row.tokens_per_second),
      mode: "lines",
      name: NARROW.matches ? "fastest" : "fastest for its memory",
      line: { color: colour.accent, width: 2, shape: "hv" },
      hoverinfo: "skip",
    },
    ...batches.map((batch, place) => {
      const some = points.filter(({ row }) => row.batch_size === batch);
      return {
        ...common(some),
        y: some.map(({ row }) => row.tokens_per_second),
        name: `batch ${batch}`,
        marker: {
          size: 9,
          symbol: SYMBOLS[place % SYMBOLS.length],
          color: css(viridis(batches.length > 1 ? (0.8 * place) / (batches.length - 1) : 0.4)),
          line: { color: colour.text, width: 1 },
        },
      };
    }),
  ];
  if (failed.length)
    traces.push({
      ...common(failed),
      y: failed.map(() => 0),
      name: "does not fit, no speed",
      marker: { size: 9, symbol: "x-thin", line: { color: colour.warn, width: 2 } },
      cliponaxis: false,
    });
  const answered = shown.answers
    .map(({ names, row: index }) => ({ row: shown.rows[index], index, names }))
    .filter(({ row }) => isNumber(row.minimum_memory_bytes) && isNumber(row.tokens_per_second));
  if (answered.length)
    traces.push({
      ...common(answered),
      mode: "markers+text",
      y: answered.map(({ row }) => row.tokens_per_second),
      name: "the answers",
      hovertext: answered.map(hoverText),
      text: answered.map(({ names }) => names.map((name) => `${SIGNS[name]} ${name}`).join("<br>")),
      textposition: labelPlaces(answered, [...points, ...failed]),
      textfont: { color: colour.text, size: 12 },
      marker: { size: 20, symbol: "circle-open", color: colour.accent, line: { width: 3 } },
    });
  return draw("memory-speed-chart", traces, {
    // On a telephone the legend has a line for two of them.
    margin: { ...NO_LEGEND, t: NARROW.matches ? 90 : 36 },
    xaxis: axis(`${shown.has_minima ? "minimum" : "peak"} memory, ${unit.name}`),
    yaxis: axis("tokens per second", { rangemode: "tozero" }),
    ...edgeLine(unit, [...points, ...failed].map(({ row }) => row.minimum_memory_bytes)),
  });
}

const LABEL_PLACES = {
  "middle right": [1, 0],
  "middle left": [-1, 0],
  "top center": [0, 1],
  "bottom center": [0, -1],
  "top right": [1, 1],
  "top left": [-1, 1],
  "bottom right": [1, -1],
  "bottom left": [-1, -1],
};

// Beside each answer where its label lies over the fewest other points and labels, and within the chart.
function labelPlaces(answered, points) {
  const { clientWidth, clientHeight } = document.getElementById("memory-speed-chart");
  const [width, height] = [clientWidth - 72, clientHeight - 80];
  const memories = points.map(({ row }) => row.minimum_memory_bytes);
  const [least, most] = [Math.min(...memories), Math.max(...memories)];
  const fastest = Math.max(...points.map(({ row }) => row.tokens_per_second ?? 0));
  const spot = ({ row }) => [
    width * (0.05 + 0.9 * ((row.minimum_memory_bytes - least) / (most - least || 1))),
    height * 0.95 * ((row.tokens_per_second ?? 0) / fastest),
  ];
  const [taken, labels] = [points.map(spot), []];
  return answered.map((each) => {
    const [x, y] = spot(each);
    const longest = Math.max(...each.names.map((name) => name.length + 2));
    const [wide, high] = [longest * 7, each.names.length * 17];
    const boxes = Object.entries(LABEL_PLACES).map(([place, [right, up]]) => {
      const [middle, level] = [x + right * (wide / 2 + 12), y + up * (high / 2 + 12)];
      const box = [middle - wide / 2, middle + wide / 2, level - high / 2, level + high / 2];
      const [left, end, bottom, top] = box;
      const outside = left < 0 || end > width || bottom < 0 || top > height;
      const over = taken.filter(([px, py]) => px > left - 6 && px < end + 6 && py > bottom - 6 && py < top + 6);
      const crossed = labels.filter((other) => other[0] < end && other[1] > left && other[2] < top && other[3] > bottom);
      return { place, box, cost: 100 * outside + 10 * crossed.length + over.length };
    });
    const best = boxes.reduce((found, next) => (next.cost < found.cost ? next : found));
    labels.push(best.box);
    return best.place;
  });
}

function edgeLine(unit, values) {
  const edge = budgetEdge();
  if (edge === null || isFarAway(edge, Math.max(...values))) return {};
  const colour = colours();
  const place = edge / unit.size;
  return {
    shapes: [
      {
        type: "line",
        x0: place,
        x1: place,
        y0: 0,
        y1: 1,
        yref: "paper",
        line: { color: colour.warn, width: 2, dash: "dash" },
      },
    ],
    annotations: [
      {
        x: place,
        y: 0.02,
        yref: "paper",
        xanchor: "right",
        yanchor: "bottom",
        text: `fits up to ${memory(edge)}`,
        showarrow: false,
        bgcolor: colour.panel,
        font: { color: colour.warn },
      },
    ],
  };
}
