// A chart is drawn when it gets its size and anew when that changes: the parts of a line beside each other,
// a key above them, and the text of what is pointed at.

const FEWEST_POINTS = 2;
const NARROW = matchMedia("(max-width: 40rem)");
const NEAR = 20;
const DRAWINGS = new WeakMap();

const RESIZED = new ResizeObserver((entries) => {
  for (const { target } of entries) drawChart(target);
});

// `drawing` says what it shows: `panels` with axes `x` and `y`, `series` and `rules`.
function chart(id, said, drawing, height = "") {
  const element = el("div", { id, class: `chart ${height}`, role: "img", "aria-label": said });
  DRAWINGS.set(element, drawing);
  RESIZED.observe(element);
  return element;
}

function drawChart(element) {
  if (!element?.clientWidth) return;
  const { panels } = DRAWINGS.get(element)();
  const plot = el("div", { class: "plot" });
  const named = panels.flatMap(({ series }) => series).filter(({ name }) => name);
  fill(element, named.length ? el("ul", { class: "keys" }, named.map(key)) : null, plot);
  const { clientWidth: width, clientHeight: height } = plot;
  const drawn = framesOf(panels, width, height).map((frame, place) => drawPanel(panels[place], frame));
  const tip = el("div", { class: "tip", hidden: true });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}` }, drawn.flatMap(({ parts }) => parts));
  fill(plot, picture, tip);
  listen(plot, tip, drawn.flatMap(({ spots }) => spots));
}

// The panels share the width by their weights, but each has a seventh at least.
function framesOf(panels, width, height) {
  const [top, bottom] = [16, height - AXIS_HEIGHT];
  const margins = panels.map((panel) => panelMargin(panel, bottom - top));
  const end = 12;
  const room = width - margins.reduce((sum, each) => sum + each + end, 0);
  const all = panels.reduce((sum, { weight = 1 }) => sum + weight, 0);
  const shares = panels.map(({ weight = 1 }) => Math.max(weight / all, 1 / 7));
  const whole = shares.reduce((sum, each) => sum + each, 0);
  let from = 0;
  return panels.map((_, place) => {
    const left = from + margins[place];
    const right = left + Math.max((room * shares[place]) / whole, 1);
    from = right + end;
    return { left, right, top, bottom };
  });
}

function key({ name, line, mark }) {
  const stroke = svg("path", { d: "M0,7H26", ...look(line ?? {}) });
  return el(
    "li",
    {},
    svg("svg", { width: 26, height: 14, "aria-hidden": "true" }, line ? stroke : null, mark ? symbol({ ...mark, radius: Math.min(mark.radius ?? 4.5, 5) }, 13, 7) : null),
    name,
  );
}

function listen(plot, tip, spots) {
  const pointed = ({ clientX, clientY }) => {
    const { left, top } = plot.getBoundingClientRect();
    return nearest(spots, clientX - left, clientY - top);
  };
  plot.addEventListener("pointermove", (event) => showTip(plot, tip, pointed(event)));
  plot.addEventListener("pointerleave", () => showTip(plot, tip, null));
  plot.addEventListener("click", (event) => {
    const row = pointed(event)?.row;
    if (row !== undefined) showTrial(row);
  });
}

// Above or below a bar is pointing at it, too.
function nearest(spots, x, y) {
  let [found, least] = [null, NEAR];
  for (const spot of spots) {
    const away = spot.half ? Math.max(Math.abs(x - spot.left) - spot.half, 0) : Math.hypot(x - spot.left, y - spot.top);
    if (away < least) [found, least] = [spot, away];
  }
  return found;
}

function showTip(plot, tip, spot) {
  tip.hidden = !spot;
  plot.classList.toggle("opens", spot?.row !== undefined);
  if (!spot) return;
  fill(tip, spot.text.map((line) => el("div", {}, line)));
  const { offsetWidth: width, offsetHeight: height } = tip;
  const isAbove = spot.top > height + 14;
  const place = Math.min(Math.max(spot.left - width / 2, 0), Math.max(plot.clientWidth - width, 0));
  tip.style.setProperty("left", `${place}px`);
  tip.style.setProperty("top", `${isAbove ? spot.top - height - 12 : spot.top + 14}px`);
}
