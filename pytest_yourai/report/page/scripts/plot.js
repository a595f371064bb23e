// One panel of a chart: axes, and what is drawn between them. Colours are those of the style sheet,
// so that a change of theme draws nothing anew.

const svg = (tag, attributes, ...children) =>
  furnished(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, ...children);

const AXIS_HEIGHT = 42;
const TITLE_WIDTH = 20;
const LETTER_WIDTH = 7;
const DASHES = { dash: "7 5", dot: "2 3" };

const polygon = (corners, turn) => (radius) => {
  const corner = (_, place) => {
    const angle = turn + (2 * Math.PI * place) / corners;
    return `${(1.2 * radius * Math.sin(angle)).toFixed(1)},${(-1.2 * radius * Math.cos(angle)).toFixed(1)}`;
  };
  return `M${Array.from({ length: corners }, corner).join("L")}Z`;
};
const SHAPES = {
  circle: (radius) => `M${-radius},0a${radius},${radius} 0 1 0 ${2 * radius},0a${radius},${radius} 0 1 0 ${-2 * radius},0`,
  square: polygon(4, Math.PI / 4),
  diamond: polygon(4, 0),
  "triangle-up": polygon(3, 0),
  pentagon: polygon(5, 0),
  "triangle-down": polygon(3, Math.PI),
  cross: (radius) => `M${-radius},${-radius}L${radius},${radius}M${-radius},${radius}L${radius},${-radius}`,
};
const SYMBOLS = Object.keys(SHAPES).filter((name) => name !== "cross");

// How a line, a symbol or a bar looks: `fill`, `stroke`, `width`, `dash`.
const look = ({ fill = "none", stroke = "none", width = 1, dash }) => ({
  style: { fill, stroke, "stroke-width": `${width}px`, ...(dash ? { "stroke-dasharray": DASHES[dash] } : {}) },
});

const symbol = ({ shape = "circle", radius = 4.5, ...rest }, x, y, more) =>
  svg("path", { d: SHAPES[shape](radius), transform: `translate(${x},${y})`, ...look(rest), ...more });

const yTicks = ({ y }, height) => numberTicks(y.domain, Math.max(height / 45, 2));

const panelMargin = (panel, height) =>
  TITLE_WIDTH + 10 + LETTER_WIDTH * Math.max(...yTicks(panel, height).map(({ text }) => text.length), 1);

// Draws `panel` into a frame of pixels; the spots are what can be pointed at.
function drawPanel(panel, { left, right, top, bottom }) {
  const [x, y] = [linear(panel.x.domain, [left, right]), linear(panel.y.domain, [bottom, top])];
  const frame = { left, right, top, bottom, x, y };
  const parts = [...panelAxes(panel, frame), ...(panel.rules ?? []).flatMap((each) => rule(each, frame))];
  const spots = [];
  for (const series of panel.series) {
    const shown = series.points
      .filter((point) => isNumber(point.x) && isNumber(point.y))
      .map((point) => ({ ...point, left: x(point.x), top: y(point.y) }));
    if (series.line) parts.push(svg("path", { class: "line", d: linePath(series, frame), ...look(series.line) }));
    if (series.mark) parts.push(...shown.map((spot) => symbol(series.mark, spot.left, spot.top, { class: "point" })));
    if (series.bar) parts.push(...shown.flatMap((spot) => bar(spot, series, frame)));
    spots.push(...shown.filter(({ text }) => text));
  }
  parts.push(...labels(spots, frame));
  return { parts, spots };
}

function panelAxes({ x, y }, { left, right, top, bottom, x: toX, y: toY }) {
  const height = bottom - top;
  const across = Math.max((right - left) / (x.isTime ? 95 : 60), 1);
  const marks = x.isTime ? timeTicks(x.domain, across) : numberTicks(x.domain, across, x.isWhole);
  const grid = (more) => svg("line", { ...look({ stroke: "var(--line)" }), ...more });
  const levels = yTicks({ y }, height).flatMap(({ at, text }) => [
    grid({ x1: left - 4, x2: right, y1: toY(at), y2: toY(at) }),
    svgText(text, { x: left - 8, y: toY(at) + 4, "text-anchor": "end" }),
  ]);
  const places = marks.flatMap(({ at, text }) => [
    grid({ x1: toX(at), x2: toX(at), y1: x.isWhole ? bottom : top, y2: bottom + 4 }),
    svgText(text, { x: toX(at), y: bottom + 18, "text-anchor": "middle" }),
  ]);
  const middle = (top + bottom) / 2;
  return [
    ...levels,
    ...places,
    grid({ x1: left, x2: left, y1: top, y2: bottom }),
    grid({ x1: left, x2: right, y1: bottom, y2: bottom }),
    svgText(x.title, { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle" }),
    svgText(y.title, { transform: `translate(${left - panelMargin({ y }, height) + 14},${middle}) rotate(-90)`, "text-anchor": "middle" }),
  ];
}

const svgText = (text, attributes) => svg("text", attributes, text);

// A line breaks where a value is missing; one with `hasSteps` goes to the right before it goes up.
function linePath({ points, hasSteps }, { x, y }) {
  let path = "";
  let isBroken = true;
  for (const point of points) {
    if (isNumber(point.y)) {
      const [left, top] = [x(point.x).toFixed(1), y(point.y).toFixed(1)];
      if (isBroken) path += `M${left},${top}`;
      else path += hasSteps ? `H${left}V${top}` : `L${left},${top}`;
    }
    isBroken = !isNumber(point.y);
  }
  return path;
}

function bar(spot, series, { x, bottom }) {
  spot.half = (x(1) - x(0)) * 0.375;
  const size = { x: spot.left - spot.half, width: 2 * spot.half, y: spot.top, height: Math.max(bottom - spot.top, 0) };
  const drawn = svg("rect", { class: "point", ...size, ...look(series.bar) });
  return spot.number ? [drawn, svgText(spot.number, { class: "halo", x: spot.left, y: spot.top - 4, "text-anchor": "middle" })] : [drawn];
}

function rule({ at, level, text, ...rest }, { left, right, top, bottom, x, y }) {
  const ends =
    level === undefined ? { x1: x(at), x2: x(at), y1: top, y2: bottom } : { x1: left, x2: right, y1: y(level), y2: y(level) };
  const line = svg("line", { class: "rule", ...ends, ...look(rest) });
  if (!text) return [line];
  const beside = { class: "halo", x: x(at) - 6, y: bottom - 8, "text-anchor": "end", style: { fill: rest.stroke } };
  return [line, svgText(text, beside)];
}
