// The answer first: the best configuration, its memory within the budget, and how to train with it.

function answer() {
  const shown = profile();
  const best = shown.optimum === null ? null : shown.rows[shown.optimum];
  const body = best ? bestAnswer(shown, best) : noAnswer(shown);
  return section("answer", "Answer", shown.heading, el("p", { class: "where" }, whereMeasured(shown)), ...body);
}

function whereMeasured(shown) {
  const fitting = shown.rows.filter((row) => row.outcome === "ok").length;
  const machine = Object.fromEntries(shown.machine);
  const on = machine.Device ?? machine.Chip;
  const parts = [
    shown.model,
    on ? `on ${on}` : null,
    `${number(fitting)} of ${plural(shown.rows.length, "configuration")} fit${fitting === 1 ? "s" : ""}`,
    shown.created_at ? `measured ${date(shown.created_at)}` : null,
    shown.complete ? null : "incomplete: not all configurations were tried",
  ];
  return parts.filter(Boolean).join(" · ");
}

function bestAnswer(shown, best) {
  const large = [
    ["Batch size", number(best.batch_size)],
    isNumber(best.lora_rank) ? ["LoRA rank", number(best.lora_rank)] : null,
    ["LoRA layers", number(best.lora_layers)],
    ...shown.axes.filter(({ key }) => best[key] !== null).map((axis) => [axis.title, axisText(axis, best)]),
    ["Speed", speed(best.tokens_per_second)],
  ].filter(Boolean);
  const small = [
    [shown.has_minima ? "Needs" : "Peak (no minimum was recorded)", memory(best.minimum_memory_bytes)],
    shown.has_minima ? ["Takes", memory(best.peak_memory_bytes)] : null,
    ["Step", time(best.step_time_s)],
    best.grad_accumulation_steps > 1 ? ["Update", time(best.update_time_s)] : null,
    ["Score", `${number(best.throughput_score)} = ${best.score_factors.join(" × ")}`],
    isNumber(best.epoch_time_s) ? ["Epoch", time(best.epoch_time_s)] : null,
  ].filter(Boolean);
  return [
    facts(large, { class: "facts large" }),
    el("div", { class: "measured" }, facts(small, { class: "facts small" }), showBest(shown)),
    memoryBar(shown, best),
    ...fitsParts(shown),
    command(shown.command, "Train with it"),
    ...otherAnswers(shown),
  ];
}

// The answers side by side, each beside what it is good for.
function allAnswers(shown) {
  if (shown.answers.length < FEWEST_POINTS) return null;
  const bytes = sameMemory(shown.answers.map(({ row }) => shown.rows[row].minimum_memory_bytes));
  const { table } = sortableTable({
    id: "answers",
    label: "The largest, the fastest and the leanest configuration",
    rows: shown.answers.map(({ names, row: index }) => ({ ...shown.rows[index], index, rowIndex: index, names })),
    open: (row, element) => showTrial(row.index, element),
    drawn: markChosen,
    columns: [
      { label: "Answer", isText: true, value: (row) => row.names[0], show: (row) => answerNames(row.names) },
      { label: "Speed", unit: "tokens/s", value: (row) => row.tokens_per_second, show: (row) => number(row.tokens_per_second) },
      { label: "Needs", value: (row) => row.minimum_memory_bytes, show: (row) => bytes(row.minimum_memory_bytes) },
      { label: "Configuration", isText: true, shape: "wraps", value: (row) => row.name, show: (row) => row.name },
    ],
  });
  return el("div", { class: "answers" }, el("h3", {}, "All answers"), table);
}

const answerNames = (names) =>
  el(
    "span",
    { class: "answer-names" },
    names.map((name) => el("span", { title: MEANINGS[name] }, el("span", { class: "signs", "aria-hidden": "true" }, SIGNS[name]), name)),
  );

function showBest(shown) {
  const button = el(
    "button",
    { type: "button", on: { click: () => showTrial(shown.optimum, button) } },
    "Show its trial",
  );
  return button;
}

function memoryBar(shown, best) {
  const limit = shown.memory_limit_bytes;
  const safe = shown.has_minima ? best.safe_memory_bytes : null;
  const most = Math.max(best.minimum_memory_bytes ?? 0, best.peak_memory_bytes ?? 0, safe ?? 0, limit ?? 0) * 1.02 || 1;
  const part = (bytes) => `${((100 * bytes) / most).toFixed(2)}%`;
  const items = [
    ["needs", shown.has_minima ? "needs" : "peak", best.minimum_memory_bytes, "bar"],
    ["takes", isOverBudget(best) ? `takes, ${overBudgetWords(best)}` : "takes, when it is allowed to", shown.has_minima ? best.peak_memory_bytes : null, "bar"],
    ["safe", `needs × ${shown.margin}, to be within the budget`, safe, "tick"],
    ["limit", "budget", limit, "tick"],
  ].filter(([, , bytes]) => isNumber(bytes));
  const track = el(
    "div",
    { class: "memory-track", "aria-hidden": "true" },
    // The wider one first, so that the other lies on it.
    [...items]
      .sort((a, b) => b[2] - a[2])
      .map(([name, , bytes, kind]) =>
        el("div", {
          class: `${kind} ${name}`,
          style: { [kind === "bar" ? "width" : "left"]: part(bytes) },
        }),
      ),
  );
  const legend = el(
    "ul",
    { class: "memory-legend" },
    items.map(([name, words, bytes, kind]) =>
      el(
        "li",
        {},
        el("span", { class: `swatch ${kind} ${name}`, "aria-hidden": "true" }),
        el("strong", {}, memory(bytes)),
        ` ${words}`,
      ),
    ),
    isNumber(limit) ? null : el("li", {}, "no budget was recorded"),
  );
  return el("div", { class: "memory-bar" }, track, legend);
}

// Whether it fits, in a sentence, and what beats it.
function fitsParts(shown) {
  const first = shown.answers[0];
  return [first?.fits, first?.note].filter(Boolean).map((each) => el("p", { class: "fits" }, each));
}

function otherAnswers(shown) {
  const table = allAnswers(shown);
  const others = shown.answers.slice(1).map((each) => command(each.command, `Train with the ${each.names.join(", ")}`, true));
  return table ? [table, ...others] : [];
}

// Its notes are those of the first, so that others are `brief`.
function command(found, title, brief = false) {
  if (!found) return null;
  const code = el("code", {}, found.text);
  const said = el("span", { class: "said", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(found.text);
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      said.textContent = "Selected: copy it with the keyboard";
    }
  };
  return el(
    "div",
    { class: "command" },
    el("h3", {}, title),
    el(
      "div",
      { class: "command-line" },
      code,
      el("button", { type: "button", on: { click: copy } }, "Copy"),
      said,
    ),
    found.notes.length && !brief ? notes(found.notes) : null,
  );
}

function noAnswer(shown) {
  return [
    el("p", {}, `Budget: ${memory(shown.memory_limit_bytes)}. How the trials ended:`),
    el(
      "ul",
      { class: "outcomes" },
      shown.outcomes.map(({ outcome, count, reasons }) =>
        el(
          "li",
          {},
          badge(outcome),
          ` ${plural(count, "configuration")}`,
          reasons.length ? el("ul", {}, reasons.map((each) => el("li", {}, each))) : null,
        ),
      ),
    ),
  ];
}
