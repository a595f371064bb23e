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

const CHARTS = { "memory-speed": drawMemorySpeed, "step-times": drawSteps, prediction: drawPrediction, history: drawHistory };

let drawing = 0;

// What is in view comes first, and the page answers between one chart and the next.
async function drawCharts() {
  const mine = ++drawing;
  delete document.documentElement.dataset.ready;
  const places = Object.keys(CHARTS).map((id) => ({ id, away: pixelsAway(document.getElementById(id)) }));
  for (const { id } of places.sort((a, b) => a.away - b.away)) {
    await CHARTS[id]();
    await pause();
    if (mine !== drawing) return;
  }
  document.documentElement.dataset.ready = "true";
}

function pixelsAway(section) {
  if (!section) return Infinity;
  const { top, bottom } = section.getBoundingClientRect();
  return Math.max(top - innerHeight, -bottom, 0);
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
