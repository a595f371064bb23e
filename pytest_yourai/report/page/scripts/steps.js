// Step times of the chosen trial, with warm-up steps apart.

const MOST_NUMBERED = 16;

function stepTimes() {
  if (!profile().rows.some((row) => row.step_times_s.length >= FEWEST_POINTS)) return null;
  return section(
    "step-times",
    "Steps",
    "Step times",
    el("p", { class: "muted", id: "step-times-of" }, stepText(chosenSteps())),
    chart("step-times-chart", "Warm-up and measured step times; the trial has the numbers", stepBars, "low"),
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
  const line = document.getElementById("step-times-of");
  if (!line) return;
  line.textContent = stepText(chosenSteps());
  drawChart(document.getElementById("step-times-chart"));
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

function stepBars() {
  const { step_times_s: measured, warmup_step_times_s: warmup, step_time_s: median } = chosenSteps();
  const rules = isNumber(median) ? [{ level: median / timeUnit(measured).size, stroke: "var(--text)", dash: "dot" }] : [];
  const panel = { ...stepPanel("measured step", measured, "var(--accent)"), rules };
  return { panels: warmup.length ? [stepPanel("warm-up", warmup, "var(--grey)"), panel] : [panel] };
}

function stepPanel(title, values, colour) {
  const { name, size } = timeUnit(values);
  const hasNumbers = values.length <= MOST_NUMBERED && !NARROW.matches;
  const digits = (value) => (value >= 100 ? 0 : value >= 10 ? 1 : 2);
  const points = values.map((value, place) => ({
    x: place + 1,
    y: value / size,
    text: [`step ${place + 1}: ${time(value)}`],
    number: hasNumbers ? number(value / size, digits(value / size)) : null,
  }));
  return {
    weight: Math.max(values.length, 1),
    x: { title, domain: [0.4, Math.max(values.length, 1) + 0.6], isWhole: true },
    y: { title: `time, ${name}`, domain: domain(points.map(({ y }) => y), true) },
    series: [{ points, bar: { fill: colour } }],
  };
}
