// Everything that is known of one trial, beside the page; keyboard focus goes there and back.

let openedFrom = null;

const trialPanel = () => document.getElementById("trial");

function setUpTrial() {
  trialPanel().addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeTrial();
  });
}

function closeTrial() {
  trialPanel().hidden = true;
  if (openedFrom?.isConnected) openedFrom.focus();
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
    row.reason ? el("p", { class: "reason" }, row.reason) : null,
    row.warnings.length ? notes(row.warnings) : null,
    el("h3", {}, "Memory"),
    facts(memoryFacts(row)),
    el("h3", {}, "Speed"),
    facts(speedFacts(row)),
    ...times("Warm-up steps", row.warmup_times),
    ...times("Measured steps", row.step_times),
  );
  trialPanel().hidden = false;
  trialPanel().scrollTop = 0;
  heading.focus({ preventScroll: true });
  markChosen();
  drawSteps();
}

function trialMarks(row) {
  const marks = [];
  if (state.row === profile().optimum) marks.push("best");
  if (profile().unbeaten.includes(state.row)) marks.push("unbeaten");
  if (row.kept) marks.push("kept from an earlier run");
  if (!row.started) marks.push("not run");
  if (!row.conclusive) marks.push("says more of the moment than of the configuration");
  return marks.map((each) => el("span", { class: "mark" }, each));
}

function memoryFacts(row) {
  const { has_minima: hasMinima, margin } = profile();
  const predicted = isNumber(row.error)
    ? `${memory(row.predicted)} (${share(row.error, true)})`
    : memory(row.predicted);
  return [
    [hasMinima ? "Needs (minimum)" : "Peak, for want of a minimum", memory(row.minimum)],
    [`Safe (× ${margin})`, memory(row.safe)],
    ["Takes (peak)", memory(row.peak)],
    ["Predicted minimum", predicted],
    ["Active after the last step", memory(row.active)],
    ["Cache after the last step", memory(row.cache)],
    ["Footprint of the process", memory(row.footprint)],
    ["Growth of swap", memory(row.swap)],
    ["Growth of active memory", perStep(row.active_growth)],
    ["Growth of the footprint", perStep(row.footprint_growth)],
  ].filter(([, text]) => text !== MISSING);
}

const perStep = (bytes) => (isNumber(bytes) ? `${memory(bytes)} a step` : MISSING);

function speedFacts(row) {
  return [
    ["Tokens per second", number(row.speed)],
    ["Step time (median)", time(row.step_time)],
    ["Tokens a step", row.tokens.length ? row.tokens.map((each) => number(each)).join(", ") : MISSING],
    ["Sequence length", `${number(row.length)} tokens`],
    ["Checkpointing", row.checkpoint ? "on" : "off"],
    ["Score", `${number(row.score)} (${row.batch} × ${row.rank} × ${row.layers})`],
    ["An epoch of the data", time(row.epoch_time)],
    ["Loss after the last step", number(row.loss, 4)],
  ].filter(([, text]) => text !== MISSING);
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
  for (const button of document.querySelectorAll("[data-row]")) {
    const isChosen = Number(button.dataset.row) === state.row;
    button.classList.toggle("chosen", isChosen);
  }
}
