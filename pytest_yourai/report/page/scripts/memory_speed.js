// Speed over memory: what is fastest for its memory, and what the budget leaves.

const measuredRows = () =>
  profile()
    .rows.map((row, index) => ({ row, index }))
    .filter(({ row }) => row.outcome === "ok" && isNumber(row.minimum_memory_bytes) && isNumber(row.tokens_per_second));

function pointText({ row }) {
  const words = profile().has_minima ? "needs" : "peak";
  return [
    row.name,
    `${words} ${memory(row.minimum_memory_bytes)}, ${speed(row.tokens_per_second)}, ${time(row.step_time_s)} a step`,
    row.outcome === "ok" ? null : `${DATA.outcomes[row.outcome].words}: ${row.error ?? ""}`.slice(0, 90),
  ].filter(Boolean);
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
    chart("memory-speed-chart", `Tokens per second over ${words}; the table has the numbers`, speedOverMemory),
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

const isMeasuredOf = (index) => isNumber(profile().rows[index].minimum_memory_bytes) && isNumber(profile().rows[index].tokens_per_second);

function speedOverMemory() {
  const shown = profile();
  const points = measuredRows();
  const failed = shown.rows
    .map((row, index) => ({ row, index }))
    .filter(({ row }) => row.outcome !== "ok" && isNumber(row.minimum_memory_bytes));
  const bytes = [...points, ...failed].map(({ row }) => row.minimum_memory_bytes);
  const unit = memoryUnit(bytes);
  const edge = budgetEdge();
  const edges = edge === null || isFarAway(edge, Math.max(...bytes)) ? [] : [edge];
  return {
    panels: [
      {
        x: {
          title: `${shown.has_minima ? "minimum" : "peak"} memory, ${unit.name}`,
          domain: domain([...bytes, ...edges].map((each) => each / unit.size)),
        },
        y: { title: "tokens per second", domain: domain(points.map(({ row }) => row.tokens_per_second), true) },
        series: [
          frontierLine(unit),
          ...batchPoints(points, unit),
          ...(failed.length ? [failedPoints(failed, unit)] : []),
          ...answerPoints(unit),
        ],
        rules: edges.map((each) => ({
          at: each / unit.size,
          text: `fits up to ${memory(each)}`,
          stroke: "var(--warn)",
          width: 2,
          dash: "dash",
        })),
      },
    ],
  };
}

const speedPoint = (unit) => ({ row, index }) => ({
  x: row.minimum_memory_bytes / unit.size,
  y: row.tokens_per_second,
  row: index,
  text: pointText({ row }),
});

function frontierLine(unit) {
  const { rows, frontier } = profile();
  return {
    name: NARROW.matches ? "fastest" : "fastest for its memory",
    points: frontier.map((index) => ({ ...speedPoint(unit)({ row: rows[index], index }), text: null })),
    line: { stroke: "var(--accent)", width: 2 },
    hasSteps: true,
  };
}

function batchPoints(points, unit) {
  const batches = unique(points.map(({ row }) => row.batch_size));
  return batches.map((batch, place) => ({
    name: `batch ${batch}`,
    points: points.filter(({ row }) => row.batch_size === batch).map(speedPoint(unit)),
    mark: {
      shape: SYMBOLS[place % SYMBOLS.length],
      fill: css(viridis(batches.length > 1 ? (0.8 * place) / (batches.length - 1) : 0.4)),
      stroke: "var(--text)",
    },
  }));
}

const failedPoints = (failed, unit) => ({
  name: "does not fit, no speed",
  points: failed.map((each) => ({ ...speedPoint(unit)(each), y: 0 })),
  mark: { shape: "cross", stroke: "var(--warn)", width: 2 },
});

function answerPoints(unit) {
  const { rows, answers } = profile();
  const points = answers
    .filter(({ row: index }) => isMeasuredOf(index))
    .map(({ names, row: index }) => ({
      ...speedPoint(unit)({ row: rows[index], index }),
      label: names.map((name) => `${SIGNS[name]} ${name}`),
    }));
  if (!points.length) return [];
  return [{ name: "the answers", points, mark: { radius: 10, stroke: "var(--accent)", width: 3 } }];
}
