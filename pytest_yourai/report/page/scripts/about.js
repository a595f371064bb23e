// What it was measured on and with: machine, versions, settings, soaks, training data.

function about() {
  const { machine, versions, settings } = profile();
  const block = (title, pairs) =>
    pairs.length ? el("div", {}, el("h3", {}, title), facts(pairs)) : null;
  const blocks = [block("Machine", machine), block("Versions", versions), block("Settings", settings)];
  if (!blocks.some(Boolean)) return null;
  return section("about", "Machine", "Machine and settings", el("div", { class: "blocks" }, blocks));
}

function soaks() {
  const { soaks: found } = profile();
  if (!found.length) return null;
  return section(
    "soak",
    "Soak",
    "Soak",
    found.map((soak) =>
      el(
        "div",
        { class: "soak" },
        el("h3", {}, soak.name),
        el(
          "p",
          {},
          el("span", { class: `badge ${soak.success ? "ok" : "failure"}` }, soak.success ? "lasted" : soak.outcome),
          soak.reason ? ` ${soak.reason}` : null,
        ),
        soak.warnings.length ? notes(soak.warnings) : null,
        facts(soak.facts),
      ),
    ),
  );
}

function trainingData() {
  const { data } = profile();
  if (!data) return null;
  const most = Math.max(1, ...data.bars.map((bar) => bar.rows));
  return section(
    "training-data",
    "Data",
    "Training data",
    facts(data.facts),
    data.bars.length
      ? el(
          "table",
          { class: "bars" },
          el("caption", {}, "Rows by length in tokens"),
          el(
            "tbody",
            {},
            data.bars.map((bar) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, bar.name),
                el(
                  "td",
                  { class: "drawn", "aria-hidden": "true" },
                  el("div", { class: "bar-row", style: { width: `${(100 * bar.rows) / most}%` } }),
                ),
                el("td", {}, number(bar.rows)),
              ),
            ),
          ),
        )
      : null,
    data.shorter_rows.length ? el("h3", {}, "Shorter rows") : null,
    data.shorter_rows.map((each) =>
      each.command
        ? command({ text: each.command, notes: [] }, each.text, true)
        : el("p", {}, each.text),
    ),
  );
}

function leftOut() {
  if (!DATA.left_out.length) return null;
  return el(
    "details",
    { class: "left-out" },
    el(
      "summary",
      {},
      `${plural(DATA.left_out.length, "file")} left out, no ${DATA.left_out.length === 1 ? "profile" : "profiles"}: `,
      DATA.left_out.map((each) => each.name).join(", "),
    ),
    notes(DATA.left_out.map((each) => each.why)),
  );
}
