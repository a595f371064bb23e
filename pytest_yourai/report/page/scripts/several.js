// Several profiles: how each compares with the first of its model, and how they went over time.

const MODELS = new Set(DATA.profiles.map((each) => each.model));

// Of a long history the page has the trials of the newest profiles alone.
const WHOLE = DATA.profiles.map((_, index) => index).filter((index) => DATA.profiles[index].rows);

const nameOf = (index) => {
  const { model, name, created_at: at } = DATA.profiles[index];
  return [MODELS.size > 1 ? model : null, name, at ? date(at) : null].filter(Boolean).join(" · ");
};

function chooser() {
  if (DATA.profiles.length < 2) return null;
  const options = WHOLE.map((index) => [String(index), nameOf(index)]);
  const choose = (value) => openProfile(Number(value));
  return el("div", { class: "chooser" }, choice("profile", "Profile", options, String(state.profile), choose), leftInHistory());
}

function leftInHistory() {
  const count = DATA.profiles.length - WHOLE.length;
  if (!count) return null;
  return el("p", { class: "muted" }, `${plural(count, "earlier profile")}: in the history alone. A page of one of them has its trials.`);
}

function openProfile(index) {
  state.profile = index;
  state.row = null;
  trialPanel().hidden = true;
  render();
  document.getElementById("profile").focus();
}

// Of several models: what each of them can be trained with.
function models() {
  if (MODELS.size < 2) return null;
  const rows = WHOLE.map((index) => ({
    ...DATA.profiles[index],
    index,
    isCurrent: index === state.profile ? "true" : null,
    best: DATA.profiles[index].rows[DATA.profiles[index].optimum] ?? null,
  }));
  const of = (key, show) => ({
    value: (row) => row.best?.[key],
    show: (row) => show(row.best?.[key]),
  });
  const bytes = sameMemory(rows.flatMap(({ best }) => [best?.minimum_memory_bytes, best?.peak_memory_bytes]));
  const limits = sameMemory(rows.map((row) => row.memory_limit_bytes));
  const { table } = sortableTable({
    id: "of-models",
    label: "The best configuration of each model",
    rows,
    open: (row) => openProfile(row.index),
    columns: [
      { label: "Model", isText: true, value: (row) => row.model, show: (row) => row.model },
      ...ofFiles(),
      {
        label: "Best",
        isText: true,
        value: (row) => row.best?.name,
        show: (row) => row.best?.name ?? row.heading,
      },
      { label: "Needs", ...of("minimum_memory_bytes", bytes) },
      { label: "Takes", ...of("peak_memory_bytes", bytes) },
      { label: "Budget", value: (row) => row.memory_limit_bytes, show: (row) => limits(row.memory_limit_bytes) },
      { label: "Speed", unit: "tokens/s", ...of("tokens_per_second", (value) => number(value)) },
    ],
  });
  return section("models", "Models", "Models", table);
}

// Where a model comes from several files, its rows are told apart by them.
function ofFiles() {
  const files = new Set(DATA.profiles.map((each) => each.name));
  if (files.size < 2) return [];
  return [{ label: "File", isText: true, value: (row) => row.name, show: (row) => row.name }];
}

function comparisons() {
  if (!DATA.comparisons.length) return null;
  return section(
    "comparison",
    "Comparison",
    "Comparison",
    el(
      "p",
      { class: "muted" },
      `Each profile against the first of its model. Regressions are what exceeds ${DATA.comparisons[0].gate}.`,
    ),
    DATA.comparisons.map(comparison),
  );
}

function comparison(found) {
  const holder = el("div", { class: "compared" });
  const details = el(
    "details",
    {
      on: {
        toggle: () => {
          if (details.open && !holder.hasChildNodes()) holder.append(...comparedParts(found));
        },
      },
    },
    el(
      "summary",
      {},
      el("strong", {}, nameOf(found.after)),
      ` against ${nameOf(found.before)}: `,
      el(
        "span",
        { class: `badge ${kindOfComparison(found)}` },
        verdictOf(found),
      ),
    ),
    holder,
  );
  details.open = DATA.comparisons.length === 1;
  return details;
}

const kindOfComparison = (found) => {
  if (found.not_comparable) return "unknown";
  return found.regressions.length ? "failure" : "ok";
};

function verdictOf(found) {
  if (found.not_comparable) return `not comparable: ${found.not_comparable}`;
  return found.regressions.length ? plural(found.regressions.length, "regression") : "no regression";
}

function comparedParts(found) {
  const list = (title, lines) => (lines.length ? [el("h3", {}, title), notes(lines)] : []);
  const { table } = sortableTable({
    id: `compared-${found.after}`,
    label: `Changes from ${nameOf(found.before)} to ${nameOf(found.after)}`,
    columns: comparisonColumns(found),
    rows: found.changes,
  });
  return [
    ...list("Regressions", found.regressions),
    ...list("Different circumstances", found.differences),
    ...list("Not compared", found.not_compared),
    el("h3", {}, "Changes of each configuration"),
    table,
  ];
}

function comparisonColumns(found) {
  const metric = (label, key, format) => {
    const values = found.changes.flatMap((row) => row[key] ?? []);
    if (!values.length) return [];
    const show = format(values);
    return [
      {
        label,
        value: (row) => (row[key] ? row[key][1] / row[key][0] - 1 : null),
        show: (row) => (row[key] ? changed(row[key], show) : MISSING),
      },
    ];
  };
  const outcome = (label, key) => ({
    label,
    isText: true,
    value: (row) => row[key],
    show: (row) => (row[key] ? badge(row[key]) : "not tried"),
  });
  return [
    { label: "Configuration", isText: true, value: (row) => row.name, show: (row) => row.name },
    outcome("Before", "before"),
    outcome("After", "after"),
    ...metric("Needs", "minimum_memory", sameMemory),
    ...metric("Takes", "peak_memory", sameMemory),
    ...metric("Step", "step_time", sameTime),
    ...metric("Speed", "tokens_per_second", () => (value) => number(value)),
    {
      label: "Regression",
      isText: true,
      value: (row) => Number(!row.worse),
      show: (row) => (row.worse ? "yes" : row.before && row.after ? "no" : MISSING),
    },
  ];
}

function changed([before, after], show) {
  return el(
    "span",
    {},
    el("strong", {}, share(after / before - 1, true)),
    el("span", { class: "unit" }, `${show(before)} → ${show(after)}`),
  );
}

function history() {
  if (!DATA.history.length) return null;
  return section("history", "History", "History", DATA.history.map(historyOf));
}

function historyOf(group, place) {
  const said = `${group.model} on ${group.machine}, ${group.matrix}, oldest first`;
  const charts = [
    ["memory", `Memory of the best configuration over time: ${said}`, () => memoryHistory(group)],
    ["speed", `Tokens per second of the best configuration over time: ${said}`, () => plainHistory(group, "speed", "tokens per second")],
    ["score", `Score of the best configuration over time: ${said}`, () => plainHistory(group, "score", "score of the best")],
  ];
  const names = namesOfVersions(group.points);
  const listed = group.points.slice(-MOST_LISTED);
  const points = listed.map((point) => ({ ...point, file: nameOf(point.profile) }));
  const bytes = sameMemory(points.flatMap(({ minimum, peak }) => [minimum, peak]));
  const version = (name) => ({
    label: name,
    isText: true,
    value: (row) => versionOf(row, name),
    show: (row) =>
      row.changed.includes(name)
        ? el("strong", {}, `${versionOf(row, name)} (new)`)
        : (versionOf(row, name) ?? MISSING),
  });
  const { table } = sortableTable({
    id: `history-${place}`,
    label: said,
    rows: points,
    columns: [
      { label: "Profile", isText: true, value: (row) => row.at, show: (row) => row.file },
      { label: "Best", isText: true, value: (row) => row.optimum, show: (row) => row.optimum ?? "nothing fits" },
      { label: "Fitting", value: (row) => row.fitting, show: (row) => `${row.fitting} of ${row.tried}` },
      { label: "Needs", value: (row) => row.minimum, show: (row) => bytes(row.minimum) },
      { label: "Takes", value: (row) => row.peak, show: (row) => bytes(row.peak) },
      { label: "Speed", unit: "tokens/s", value: (row) => row.speed, show: (row) => number(row.speed) },
      ...names.map(version),
    ],
  });
  return el(
    "div",
    { class: "history" },
    el("h3", {}, `${group.model} on ${group.machine}: ${group.matrix}`),
    el("p", { class: "muted" }, "Of the best configuration of each. Dotted lines: other versions than before."),
    el(
      "div",
      { class: "three" },
      charts.map(([name, title, drawing]) => chart(`history-${place}-${name}`, title, drawing, "low")),
    ),
    listed.length < group.points.length
      ? el("p", { class: "muted" }, `The newest ${listed.length} of ${number(group.points.length)}; the charts have them all.`)
      : null,
    table,
  );
}

// A name may be one that every object has.
const versionOf = ({ versions }, name) => (Object.hasOwn(versions, name) ? versions[name] : null);

const namesOfVersions = (points) => [...new Set(points.flatMap((point) => Object.keys(point.versions)))];

const MOST_MARKED = 200;
const MOST_LISTED = 200;
const MOST_CHANGES = 50;

function memoryHistory(group) {
  const unit = memoryUnit(group.points.flatMap((point) => [point.minimum, point.peak]));
  const scaled = (key) => (point) => (isNumber(point[key]) ? point[key] / unit.size : null);
  const takes = { name: "takes", line: { stroke: "var(--grey)", width: 2, dash: "dash" }, mark: { shape: "square", radius: 4, fill: "var(--grey)" } };
  return overTime(group, `memory, ${unit.name}`, [
    { name: "needs", ...historyLine(group, scaled("minimum")) },
    { ...historyLine(group, scaled("peak")), ...takes },
  ]);
}

const plainHistory = (group, key, title) => overTime(group, title, [historyLine(group, (point) => point[key])]);

const historyLine = ({ points }, value) => ({
  line: { stroke: "var(--accent)", width: 2 },
  mark: { radius: 4, fill: "var(--accent)" },
  points: points.map((point) => ({
    x: Date.parse(point.at),
    y: value(point),
    text: [
      number(value(point), value(point) < 100 ? 2 : 0),
      nameOf(point.profile),
      point.optimum ?? "nothing fits",
      `mlx ${point.versions.mlx ?? "unknown"}`,
    ],
  })),
});

function overTime({ points }, title, lines) {
  const changes = points.filter((point) => point.changed.length);
  const series = points.length > MOST_MARKED ? lines.map((each) => ({ ...each, mark: null })) : lines;
  const moments = series[0].points.map(({ x }) => x);
  const isOne = Math.min(...moments) === Math.max(...moments);
  return {
    panels: [
      {
        x: { title: "", isTime: true, domain: isOne ? [moments[0] - DAY, moments[0] + DAY] : domain(moments) },
        y: { title, domain: domain(series.flatMap((each) => each.points.map(({ y }) => y)), true) },
        series,
        // Many of them would be a hatching.
        rules: (changes.length > MOST_CHANGES ? [] : changes).map(({ at }) => ({
          at: Date.parse(at),
          stroke: "var(--muted)",
          dash: "dot",
        })),
      },
    ],
  };
}
