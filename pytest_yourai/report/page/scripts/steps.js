// Step times of the chosen trial, with warm-up steps apart.

const FEWEST_NUMBERED = 5;
const MOST_NUMBERED = 16;

function stepTimes() {
  if (!profile().rows.some((row) => row.step_times_s.length >= FEWEST_POINTS)) return null;
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
  const has = (row) => row && (row.step_times_s.length || row.warmup_step_times_s.length);
  if (state.row !== null && has(rows[state.row])) return rows[state.row];
  if (optimum !== null && has(rows[optimum])) return rows[optimum];
  return rows.find(has);
}

function drawSteps() {
  const words = document.getElementById("step-times-of");
  if (!words) return Promise.resolve();
  const row = chosenSteps();
  words.textContent = stepText(row);
  const colour = colours();
  const { step_times_s: measured, warmup_step_times_s: warmup } = row;
  const traces = [stepBars(measured, colour.accent, {})];
  if (warmup.length)
    traces.push(stepBars(warmup, colour.grey, { xaxis: "x2", yaxis: "y2" }));
  const gap = NARROW.matches ? 0.26 : 0.12;
  // Bars of one width, as far as the axes leave room for it.
  const part = warmup.length / (warmup.length + measured.length || 1);
  const share_ = Math.min(Math.max(part * (1 - gap), 0.12), 0.5);
  const median = isNumber(row.step_time_s) ? row.step_time_s / timeUnit(measured).size : null;
  return draw("step-times-chart", traces, {
    showlegend: false,
    margin: NO_LEGEND,
    bargap: 0.25,
    xaxis: stepAxis("measured step", measured, [warmup.length ? share_ + gap : 0, 1]),
    yaxis: axis(`time, ${timeUnit(measured).name}`, { rangemode: "tozero", anchor: "x" }),
    xaxis2: stepAxis("warm-up", warmup, [0, share_]),
    yaxis2: axis(`time, ${timeUnit(warmup).name}`, { rangemode: "tozero", anchor: "x2" }),
    shapes: isNumber(median) ? [medianLine(median, colour)] : [],
  });
}

function stepText(row) {
  const { step_times_s: measured, warmup_step_times_s: warmup } = row;
  const after = warmup.length
    ? `, after ${plural(warmup.length, "warm-up step")}, which compile and do not count`
    : "";
  if (!measured.length)
    return `${row.name}: ended after ${plural(warmup.length, "warm-up step")}, before any was measured.`;
  return (
    `${row.name}: median ${time(row.step_time_s)} of ${plural(measured.length, "measured step")}${after}. ` +
    "Choose another in the heat map or the table."
  );
}

function stepBars(values, colour, more) {
  const { size } = timeUnit(values);
  const text = (value) => number(value / size, value / size >= 100 ? 0 : value / size >= 10 ? 1 : 2);
  return {
    type: "bar",
    x: values.map((_, place) => place + 1),
    y: values.map((value) => value / size),
    text: values.map(text),
    textposition: values.length > MOST_NUMBERED || NARROW.matches ? "none" : "outside",
    cliponaxis: false,
    hovertext: values.map((value, place) => `step ${place + 1}: ${time(value)}`),
    hoverinfo: "text",
    marker: { color: colour },
    ...more,
  };
}

function stepAxis(title, values, domain) {
  const isNumbered = values.length <= (NARROW.matches ? FEWEST_NUMBERED : MOST_NUMBERED);
  return axis(title, {
    domain,
    showgrid: false,
    dtick: isNumbered ? 1 : null,
    nticks: 5,
    range: [0.4, Math.max(values.length, 1) + 0.6],
  });
}

function medianLine(median, colour) {
  return {
    type: "line",
    xref: "x domain",
    x0: 0,
    x1: 1,
    y0: median,
    y1: median,
    line: { color: colour.text, width: 1, dash: "dot" },
  };
}
