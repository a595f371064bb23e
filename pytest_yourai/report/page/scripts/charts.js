// What Plotly draws. It reads a little markup in texts, so these are escaped.

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif";
const FEWEST_BARS = 8;
const FEWEST_POINTS = 2;
const NARROW = matchMedia("(max-width: 40rem)");

const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function chart(id, said, height = "") {
  return el("div", { id, class: `chart ${height}`, role: "img", "aria-label": said });
}

function axis(title, more = {}) {
  const colour = colours();
  return {
    title: { text: title, standoff: 8 },
    gridcolor: colour.line,
    linecolor: colour.line,
    zeroline: false,
    ticks: "outside",
    tickcolor: colour.line,
    automargin: true,
    fixedrange: NARROW.matches,
    ...more,
  };
}

function draw(id, traces, layout) {
  const target = document.getElementById(id);
  if (!target) return Promise.resolve();
  const colour = colours();
  const whole = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, size: 12, color: colour.text },
    margin: { l: 8, r: 12, t: 16, b: 8 },
    hovermode: "closest",
    hoverlabel: { bgcolor: colour.panel, bordercolor: colour.muted, font: { color: colour.text } },
    legend: {
      orientation: "h",
      y: 1,
      yanchor: "bottom",
      x: 0,
      bgcolor: "rgba(0,0,0,0)",
      ...(NARROW.matches ? { entrywidth: 0.5, entrywidthmode: "fraction" } : {}),
    },
    dragmode: NARROW.matches ? false : "zoom",
    ...layout,
  };
  return Plotly.react(target, traces, whole, { displayModeBar: false, responsive: true }).then(() => {
    if (target.dataset.clicks) return;
    target.dataset.clicks = "true";
    target.on("plotly_click", ({ points }) => {
      const index = points[0].customdata;
      if (Number.isInteger(index)) showTrial(index);
    });
  });
}

const measuredRows = () =>
  profile()
    .rows.map((row, index) => ({ row, index }))
    .filter(({ row }) => row.outcome === "ok" && isNumber(row.minimum) && isNumber(row.speed));

function hoverText({ row }) {
  const words = profile().has_minima ? "needs" : "peak";
  return [
    row.name,
    `${words} ${memory(row.minimum)}, ${speed(row.speed)}, ${time(row.step_time)} a step`,
    row.outcome === "ok" ? null : `${DATA.outcomes[row.outcome].words}: ${row.reason ?? ""}`.slice(0, 90),
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
  const most = Math.max(...profile().rows.map((row) => row.minimum ?? 0));
  return isFarAway(edge, most) ? `${what} That is outside of the chart.` : what;
}

function drawMemorySpeed() {
  const shown = profile();
  const points = measuredRows();
  if (!document.getElementById("memory-speed-chart")) return Promise.resolve();
  const failed = shown.rows
    .map((row, index) => ({ row, index }))
    .filter(({ row }) => row.outcome !== "ok" && isNumber(row.minimum));
  const unit = memoryUnit([...points, ...failed].map(({ row }) => row.minimum));
  const colour = colours();
  const x = ({ row }) => row.minimum / unit.size;
  const common = (some) => ({
    mode: "markers",
    x: some.map(x),
    customdata: some.map(({ index }) => index),
    text: some.map(hoverText),
    hoverinfo: "text",
  });
  const batches = unique(points.map(({ row }) => row.batch));
  const frontier = shown.frontier.map((index) => ({ row: shown.rows[index], index }));
  const traces = [
    {
      ...common(frontier),
      y: frontier.map(({ row }) => row.speed),
      mode: "lines",
      name: NARROW.matches ? "fastest" : "fastest for its memory",
      line: { color: colour.accent, width: 2, shape: "hv" },
      hoverinfo: "skip",
    },
    ...batches.map((batch, place) => {
      const some = points.filter(({ row }) => row.batch === batch);
      return {
        ...common(some),
        y: some.map(({ row }) => row.speed),
        name: `batch ${batch}`,
        marker: {
          size: 9,
          symbol: SYMBOLS[place % SYMBOLS.length],
          color: css(viridis(batches.length > 1 ? place / (batches.length - 1) : 0.4)),
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
  if (shown.optimum !== null) {
    const best = { row: shown.rows[shown.optimum], index: shown.optimum };
    traces.push({
      ...common([best]),
      y: [best.row.speed],
      name: "best",
      marker: { size: 20, symbol: "circle-open", color: colour.accent, line: { width: 3 } },
    });
  }
  return draw("memory-speed-chart", traces, {
    xaxis: axis(`${shown.has_minima ? "minimum" : "peak"} memory, ${unit.name}`),
    yaxis: axis("tokens per second", { rangemode: "tozero" }),
    ...edgeLine(unit, [...points, ...failed].map(({ row }) => row.minimum)),
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

function stepTimes() {
  if (!profile().rows.some((row) => row.step_times.length >= FEWEST_POINTS)) return null;
  return section(
    "step-times",
    "Steps",
    "Step times",
    el("p", { class: "muted", id: "step-times-of" }),
    chart("step-times-chart", "Warm-up and measured step times; the trial has the numbers", "low"),
  );
}

function chosenSteps() {
  const { rows, optimum } = profile();
  const has = (row) => row && (row.step_times.length || row.warmup_times.length);
  if (state.row !== null && has(rows[state.row])) return rows[state.row];
  if (optimum !== null && has(rows[optimum])) return rows[optimum];
  return rows.find(has);
}

function drawSteps() {
  const target = document.getElementById("step-times-of");
  if (!target) return Promise.resolve();
  const row = chosenSteps();
  target.textContent =
    `${row.name}: median ${time(row.step_time)} of ${plural(row.step_times.length, "measured step")}` +
    (row.warmup_times.length
      ? `, after ${plural(row.warmup_times.length, "warm-up step")}, which compile and do not count. `
      : ". ") +
    "Choose another in the heat map or the table.";
  const colour = colours();
  const bars = (values, colour_, more) => {
    const unit = timeUnit(values);
    return {
      type: "bar",
      x: values.map((_, place) => place + 1),
      y: values.map((value) => value / unit.size),
      text: values.map((value) => number(value / unit.size, 2 - (value / unit.size >= 10))),
      textposition: values.length > 16 || NARROW.matches ? "none" : "outside",
      cliponaxis: false,
      hovertext: values.map((value, place) => `step ${place + 1}: ${time(value)}`),
      hoverinfo: "text",
      marker: { color: colour_ },
      ...more,
    };
  };
  const [warm, cold] = [timeUnit(row.step_times), timeUnit(row.warmup_times)];
  const split = row.warmup_times.length ? 0.34 : 0;
  const whole = (title, more) => axis(title, { dtick: 1, showgrid: false, ...more });
  const traces = [bars(row.step_times, colour.accent, { name: "measured" })];
  if (split)
    traces.push(bars(row.warmup_times, colour.grey, { name: "warm-up", xaxis: "x2", yaxis: "y2" }));
  const median = row.step_time / warm.size;
  return draw("step-times-chart", traces, {
    showlegend: false,
    bargap: 0.25,
    xaxis: whole("measured step", {
      domain: [split ? split + 0.12 : 0, 1],
      dtick: row.step_times.length > 16 ? null : 1,
      range: [0.4, Math.max(row.step_times.length, FEWEST_BARS) + 0.6],
    }),
    yaxis: axis(`time, ${warm.name}`, { rangemode: "tozero", anchor: "x" }),
    xaxis2: whole("warm-up step", { domain: [0, split] }),
    yaxis2: axis(`time, ${cold.name}`, { rangemode: "tozero", anchor: "x2" }),
    shapes: isNumber(median)
      ? [
          {
            type: "line",
            xref: "x domain",
            x0: 0,
            x1: 1,
            y0: median,
            y1: median,
            line: { color: colour.text, width: 1, dash: "dot" },
          },
        ]
      : [],
  });
}

const predictedRows = () =>
  profile()
    .rows.map((row, index) => ({ row, index }))
    .filter(({ row }) => isNumber(row.error));

function prediction() {
  const { prediction: found } = profile();
  if (predictedRows().length < FEWEST_POINTS) return null;
  const said = found
    ? `Off by ${share(found.mean)} on average and ${share(found.largest)} at most, over ` +
      `${plural(found.trials, "trial")}. Each prediction was fixed before its trial.`
    : "Each prediction was fixed before its trial.";
  return section(
    "prediction",
    "Prediction",
    "Prediction and measurement",
    el("p", { class: "muted" }, said),
    el(
      "div",
      { class: "two" },
      chart("prediction-chart", "Predicted over measured minimum memory"),
      chart("error-chart", "Error of the prediction over measured minimum memory"),
    ),
  );
}

function drawPrediction() {
  const points = predictedRows();
  if (!points.length) return Promise.resolve();
  const colour = colours();
  const values = points.flatMap(({ row }) => [row.minimum, row.predicted]);
  const unit = memoryUnit(values);
  const ends = [Math.min(...values) / unit.size, Math.max(...values) / unit.size];
  const trace = (y) => ({
    mode: "markers",
    x: points.map(({ row }) => row.minimum / unit.size),
    y: points.map(y),
    customdata: points.map(({ index }) => index),
    text: points.map(({ row }) =>
      [
        row.name,
        `predicted ${memory(row.predicted)}, measured ${memory(row.minimum)}: ${share(row.error, true)}`,
      ]
        .map(plain)
        .join("<br>"),
    ),
    hoverinfo: "text",
    marker: { size: 8, color: colour.accent, opacity: 0.75 },
  });
  const line = (from, to) => ({
    mode: "lines",
    x: ends,
    y: [from, to],
    line: { color: colour.muted, width: 1, dash: "dot" },
    hoverinfo: "skip",
  });
  const measured = axis(`measured minimum, ${unit.name}`);
  return Promise.all([
    draw("prediction-chart", [line(...ends), trace(({ row }) => row.predicted / unit.size)], {
      showlegend: false,
      xaxis: measured,
      yaxis: axis(`predicted minimum, ${unit.name}`),
    }),
    draw("error-chart", [line(0, 0), trace(({ row }) => row.error * 100)], {
      showlegend: false,
      xaxis: measured,
      yaxis: axis("predicted − measured, %"),
    }),
  ]);
}
