// The table of all trials, filtered by outcome and text.

function axisColumn(axis) {
  if (axis.unit) {
    return { label: axis.title, unit: axis.unit, value: (row) => row[axis.key], show: (row) => number(row[axis.key]) };
  }
  return { label: axis.title, value: (row) => axisOrder(row[axis.key]), show: (row) => axisText(axis, row) };
}

function trialColumns(rows) {
  const { axes, has_minima: hasMinima } = profile();
  const unit = memoryUnit(rows.flatMap((row) => [row.minimum_memory_bytes, row.peak_memory_bytes]));
  const duration = (label, key) => {
    const { name, size, digits } = timeUnit(rows.map((row) => row[key]));
    return {
      label,
      unit: name,
      value: (row) => row[key],
      show: (row) => number(isNumber(row[key]) ? row[key] / size : null, digits),
    };
  };
  const bytes = (label, key) => ({
    label,
    unit: unit.name,
    value: (row) => row[key],
    show: (row) => number(isNumber(row[key]) ? row[key] / unit.size : null, 1),
  });
  const count = (label, key, more) => ({
    label,
    value: (row) => row[key],
    show: (row) => number(row[key]),
    ...more,
  });
  const has = (key) => rows.some((row) => row[key] !== null && row[key] !== "");
  const needs = bytes(hasMinima ? "Needs" : "Peak", "minimum_memory_bytes");
  const speeds = count("Speed", "tokens_per_second", { unit: "tokens/s", first: -1 });
  const sizes = [count("Batch", "batch_size"), count("Rank", "lora_rank"), count("Layers", "lora_layers")];
  const others = axes.map(axisColumn);
  return [
    { label: NARROW.matches ? "Fits" : "Outcome", isText: true, value: (row) => row.outcome, show: trialOutcome },
    // What people look for is seen on a telephone before it is moved aside.
    ...(NARROW.matches ? [...sizes, needs, speeds, ...others] : [...sizes, ...others, needs]),
    hasMinima ? { ...bytes("Takes", "peak_memory_bytes"), show: (row) => peakText(row, unit) } : null,
    NARROW.matches ? null : speeds,
    has("noise") ? { label: "±", unit: "%", value: (row) => row.noise?.share, show: noiseText } : null,
    duration("Step", "step_time_s"),
    rows.some((row) => row.grad_accumulation_steps > 1) ? duration("Update", "update_time_s") : null,
    count("Score", "throughput_score", { first: -1 }),
    has("prediction_error")
      ? { label: "Prediction", unit: "error", value: (row) => row.prediction_error, show: (row) => share(row.prediction_error, true) }
      : null,
    {
      label: "Remarks",
      isText: true,
      shape: "remarks",
      value: (row) => row.remarks,
      show: (row) => el("span", { title: row.remarks }, row.remarks),
    },
  ].filter(Boolean);
}

function peakText(row, unit) {
  const text = number(isNumber(row.peak_memory_bytes) ? row.peak_memory_bytes / unit.size : null, 1);
  return isOverBudget(row) ? el("span", { class: "over", title: overBudgetWords(row) }, `${text} †`) : text;
}

// An exclamation mark where single steps stand out.
function noiseText({ noise }) {
  return noise ? `${number(noise.share * 100, 1)}${noise.outliers ? "!" : ""}` : MISSING;
}

// On a telephone the letter says it: it is explained beside the heat map.
function trialOutcome(row) {
  const signs = signsOf(row.index);
  return el("span", {}, badge(row.outcome), signs ? el("span", { class: "signs", title: answersOf(row.index).join(", ") }, signs) : null);
}

function remarksOf(row, index) {
  const { unbeaten } = profile();
  return [
    ...answersOf(index),
    unbeaten.includes(index) ? "unbeaten" : null,
    row.lasting ? null : "did not survive its soak",
    isOverBudget(row) && !row.recorded_without_budget ? "its peak was over the budget" : null,
    row.kept ? "kept" : null,
    row.error,
    ...row.warnings,
  ]
    .filter(Boolean)
    .join("; ");
}

function trialTable() {
  const noise = profile().noise;
  const rows = profile().rows.map((row, index) => ({ ...row, index, rowIndex: index, remarks: remarksOf(row, index) }));
  const wanted = { outcome: "", text: "" };
  const words = (row) =>
    `${row.name} ${DATA.outcomes[row.outcome].words} ${row.remarks}`.toLowerCase();
  const filter = (row) =>
    (!wanted.outcome || row.outcome === wanted.outcome) && words(row).includes(wanted.text);
  const count = el("p", { class: "muted", role: "status" });
  const { table, redraw } = sortableTable({
    id: "trials",
    label: "Table of all trials",
    columns: trialColumns(rows),
    rows,
    filter,
    open: (row, element) => showTrial(row.index, element),
    drawn: (shown) => {
      markChosen();
      count.textContent = `${number(shown)} of ${plural(rows.length, "row")}`;
    },
  });
  const outcomes = profile().outcomes.map(({ outcome, count: many }) => [
    outcome,
    `${DATA.outcomes[outcome].words} (${many})`,
  ]);
  const byText = (event) => {
    wanted.text = event.target.value.trim().toLowerCase();
    redraw();
  };
  return section(
    "table",
    "Trials",
    "All trials",
    el("p", { class: "muted" }, "Best first. A click on a row, or Enter, shows everything about its trial."),
    el(
      "div",
      { class: "filters" },
      choice("by-outcome", "Outcome", [["", "all"], ...outcomes], "", (value) => {
        wanted.outcome = value;
        redraw();
      }),
      labelled(
        "by-text",
        "Text",
        el("input", { type: "search", placeholder: "rank=64, timeout, ...", on: { input: byText } }),
      ),
      count,
    ),
    table,
    noise.length ? notes(noise) : null,
  );
}
