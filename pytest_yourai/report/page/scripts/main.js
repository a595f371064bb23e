// The page: its sections in their order, drawn anew where another profile is chosen.

function render() {
  const sections = [
    answer(),
    models(),
    comparisons(),
    history(),
    heatMap(),
    memorySpeed(),
    stepTimes(),
    prediction(),
    soaks(),
    trainingData(),
    about(),
    trialTable(),
  ].filter(Boolean);
  const main = document.getElementById("main");
  fill(main, chooser(), leftOut(), sections);
  document
    .getElementById("sections")
    .replaceChildren(
      ...sections.map((each) => el("a", { href: `#${each.id}` }, each.dataset.short)),
    );
  document.title = profile().title;
  document.getElementById("title").textContent = profile().title;
  markChosen();
}

async function drawCharts() {
  delete document.documentElement.dataset.ready;
  await Promise.all([drawMemorySpeed(), drawSteps(), drawPrediction(), drawHistory()]);
  document.documentElement.dataset.ready = "true";
}

document.getElementById("footer").append(
  el("p", {}, `Made ${date(DATA.made_at)} by ${DATA.made_by}. GB means 1e9 bytes.`),
);
setUpTheme(drawCharts);
setUpTrial();
NARROW.addEventListener("change", () => {
  render();
  drawCharts();
});
render();
// Plotly comes after this script, and takes a second: what needs no chart is there before.
addEventListener("DOMContentLoaded", drawCharts);
