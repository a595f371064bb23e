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
  markReady();
}

// Charts are drawn in the frame after this, when their sizes are known.
function markReady() {
  delete document.documentElement.dataset.ready;
  requestAnimationFrame(() =>
    setTimeout(() => {
      document.documentElement.dataset.ready = "true";
    }),
  );
}

document.getElementById("footer").append(
  el("p", {}, `Made ${date(DATA.made_at)} by ${DATA.made_by}. GB means 1e9 bytes.`),
);
setUpTheme(() => drawHeatMap(document.getElementById("heat-holder")));
setUpTrial();
NARROW.addEventListener("change", render);
render();
