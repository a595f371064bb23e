// How good the predictions were.

const predictedRows = () =>
  profile()
    .rows.map((row, index) => ({ row, index }))
    .filter(({ row }) => isNumber(row.prediction_error));

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
      chart("prediction-chart", "Predicted over measured minimum memory", predictedMemory),
      chart("error-chart", "Error of the prediction over measured minimum memory", predictionErrors),
    ),
  );
}

const unitOfPredictions = () =>
  memoryUnit(predictedRows().flatMap(({ row }) => [row.minimum_memory_bytes, row.predicted_minimum_memory_bytes]));

function predictedMemory() {
  const { name, size } = unitOfPredictions();
  return overMeasured({ title: `predicted minimum, ${name}`, ideal: (x) => x, of: (row) => row.predicted_minimum_memory_bytes / size });
}

function predictionErrors() {
  return overMeasured({ title: "predicted − measured, %", ideal: () => 0, of: (row) => row.prediction_error * 100 });
}

// A chart of `of` over the measured minimum, with a line where a perfect prediction is.
function overMeasured({ title, ideal, of }) {
  const { name, size } = unitOfPredictions();
  const points = predictedRows().map(({ row, index }) => ({
    x: row.minimum_memory_bytes / size,
    y: of(row),
    row: index,
    text: [
      row.name,
      `predicted ${memory(row.predicted_minimum_memory_bytes)}, measured ${memory(row.minimum_memory_bytes)}: ${share(row.prediction_error, true)}`,
    ],
  }));
  const across = domain(points.map(({ x }) => x));
  const line = across.map((x) => ({ x, y: ideal(x) }));
  return {
    panels: [
      {
        x: { title: `measured minimum, ${name}`, domain: across },
        y: { title, domain: domain([...points, ...line].map(({ y }) => y)) },
        series: [
          { points: line, line: { stroke: "var(--muted)", dash: "dot" } },
          { points, mark: { radius: 4, fill: "var(--accent)" } },
        ],
      },
    ],
  };
}
