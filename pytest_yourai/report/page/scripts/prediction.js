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
      chart("prediction-chart", "Predicted over measured minimum memory"),
      chart("error-chart", "Error of the prediction over measured minimum memory"),
    ),
  );
}

function drawPrediction() {
  const points = predictedRows();
  if (!points.length) return Promise.resolve();
  const colour = colours();
  const values = points.flatMap(({ row }) => [row.minimum_memory_bytes, row.predicted_minimum_memory_bytes]);
  const unit = memoryUnit(values);
  const ends = [Math.min(...values) / unit.size, Math.max(...values) / unit.size];
  const trace = (y) => ({
    mode: "markers",
    x: points.map(({ row }) => row.minimum_memory_bytes / unit.size),
    y: points.map(y),
    customdata: points.map(({ index }) => index),
    text: points.map(({ row }) =>
      [
        row.name,
        `predicted ${memory(row.predicted_minimum_memory_bytes)}, measured ${memory(row.minimum_memory_bytes)}: ${share(row.prediction_error, true)}`,
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
    draw("prediction-chart", [line(...ends), trace(({ row }) => row.predicted_minimum_memory_bytes / unit.size)], {
      showlegend: false,
      margin: NO_LEGEND,
      xaxis: measured,
      yaxis: axis(`predicted minimum, ${unit.name}`),
    }),
    draw("error-chart", [line(0, 0), trace(({ row }) => row.prediction_error * 100)], {
      showlegend: false,
      margin: NO_LEGEND,
      xaxis: measured,
      yaxis: axis("predicted − measured, %"),
    }),
  ]);
}
