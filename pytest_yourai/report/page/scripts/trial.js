// Everything that is known of one trial, beside the page; keyboard focus goes there and back.

let openedFrom = null;

const trialPanel = () => document.getElementById("trial");

function setUpTrial() {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !trialPanel().hidden) closeTrial();
  });
}

function closeTrial() {
  trialPanel().hidden = true;
  // A point of a chart cannot have the focus, and a cell may have been drawn anew.
  const cell = document.querySelector(`#heat-map [data-row="${state.row}"]`);
  (openedFrom?.isConnected ? openedFrom : cell)?.focus();
}

function showTrial(index, opener) {
  state.row = index;
  openedFrom = opener ?? null;
  const row = profile().rows[index];
  const heading = el("h2", { id: "trial-title", tabindex: "-1" }, row.name);
  const close = el(
    "button",
    { type: "button", class: "quiet", on: { click: closeTrial } },
    "Close",
  );
  fill(
    trialPanel(),
    el("div", { class: "trial-top" }, heading, close),
    el("p", {}, badge(row.outcome), ...trialMarks(row)),
    row.error ? el("p", { class: "reason" }, row.error) : null,
    row.warnings.length ? notes(row.warnings) : null,
    el("h3", {}, "Memory"),
    facts(memoryFacts(row)),
    el("h3", {}, "Speed"),
    facts(speedFacts(row)),
    ...times("Warm-up steps", row.warmup_step_times_s),
    ...times("Measured steps", row.step_times_s),
  );
  trialPanel().hidden = false;
  trialPanel().scrollTop = 0;
  heading.focus({ preventScroll: true });
  markChosen();
  drawSteps();
}

function trialMarks(row) {
  const marks = [];
  marks.push(...answersOf(state.row));
  if (profile().unbeaten.includes(state.row)) marks.push("unbeaten");
  if (!row.lasting) marks.push("did not survive its soak");
  if (row.kept) marks.push("kept from an earlier run");
  if (!row.started) marks.push("not run");
  if (!row.conclusive) marks.push("says more of the moment than of the configuration");
  return marks.map((each) => el("span", { class: "mark" }, each));
}

function memoryFacts(row) {
  const { has_minima: hasMinima, margin } = profile();
  const predicted = isNumber(row.prediction_error)
    ? `${memory(row.predicted_minimum_memory_bytes)} (${share(row.prediction_error, true)})`
    : memory(row.predicted_minimum_memory_bytes);
  return [
    [hasMinima ? "Needs (minimum)" : "Peak, for want of a minimum", memory(row.minimum_memory_bytes)],
    [`Minimum × ${margin}, to be within the budget`, memory(row.safe_memory_bytes)],
    ["Takes (peak)", isOverBudget(row) ? `${memory(row.peak_memory_bytes)}, ${overBudgetWords(row)}` : memory(row.peak_memory_bytes)],
    ["Predicted minimum", predicted],
    ["Active after the last step", memory(row.active_memory_bytes)],
    ["Cache after the last step", memory(row.cache_memory_bytes)],
    ["Footprint of the process", memory(row.footprint_bytes)],
    ...(hasNothingToReport(row) ? [] : growth(row)),
  ].filter(([, text]) => text !== MISSING);
}

// Of a trial that went well, growth is that of caches which fill: it would alarm for nothing.
const hasNothingToReport = (row) => row.outcome === "ok" && !row.warnings.length;

function growth(row) {
  return [
    ["Growth of swap", memory(row.swap_growth_bytes)],
    ["Growth of active memory", perStep(row.active_growth_mb_per_step)],
    ["Growth of the footprint", perStep(row.footprint_growth_mb_per_step)],
  ];
}

const perStep = (mb) => (isNumber(mb) ? `${memory(mb * 1e6)} a step` : MISSING);

function speedFacts(row) {
  return [
    ["Tokens per second", number(row.tokens_per_second)],
    ["Step time (median)", medianText(row)],
    ["Steps that stand out (!)", row.noise?.outliers ? number(row.noise.outliers) : MISSING],
    ["Update time (median)", row.grad_accumulation_steps > 1 ? time(row.update_time_s) : MISSING],
    ["Tokens a step", row.step_tokens.length ? row.step_tokens.map((each) => number(each)).join(", ") : MISSING],
    ["Sequence length", `${number(row.max_seq_length)} tokens`],
    ["Checkpointing", row.grad_checkpoint ? "on" : "off"],
    ["Score", `${number(row.throughput_score)} (${row.score_factors.join(" × ")})`],
    ["An epoch of the data", time(row.epoch_time_s)],
    ["Loss after the last step", number(row.loss, 4)],
  ].filter(([, text]) => text !== MISSING);
}

function medianText(row) {
  const median = time(row.step_time_s);
  return row.noise ? `${median} ± ${noiseText(row)} %` : median;
}

function times(title, values) {
  if (!values.length) return [];
  return [
    el("h3", {}, title),
    el("p", { class: "numbers" }, values.map(time).join(", ")),
  ];
}

// The chosen trial is marked wherever it can be chosen.
function markChosen() {
  for (const each of document.querySelectorAll("[data-row]")) {
    each.classList.toggle("chosen", Number(each.dataset.row) === state.row);
  }
}
