// What Plotly draws. It reads a little markup in texts, so these are escaped.

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif";
const FEWEST_POINTS = 2;
const NO_LEGEND = { l: 60, r: 12, t: 16, b: 44 };
const NARROW = matchMedia("(max-width: 40rem)");

const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const pause = () => new Promise((resolve) => setTimeout(resolve));

function chart(id, said, height = "") {
  return el("div", { id, class: `chart ${height}`, role: "img", "aria-label": said });
}

function axis(title, more = {}) {
  const colour = colours();
  return {
    title: { text: title, standoff: 8 },
    gridcolor: colour.line,
    linecolor: colour.line,
    zeroline: false,
    ticks: "outside",
    separatethousands: true,
    // Else Plotly measures each of them, to hide what leaves the chart.
    ticklabeloverflow: "allow",
    tickcolor: colour.line,
    fixedrange: NARROW.matches,
    ...more,
  };
}

function draw(id, traces, layout) {
  const target = document.getElementById(id);
  // Before Plotly is there a click draws nothing: all is drawn once the page has been read.
  if (!target || typeof Plotly === "undefined") return Promise.resolve();
  const colour = colours();
  const whole = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, size: 12, color: colour.text },
    // Margins that Plotly finds itself make it draw twice.
    margin: { ...NO_LEGEND, t: 36 },
    hovermode: "closest",
    hoverlabel: { bgcolor: colour.panel, bordercolor: colour.muted, font: { color: colour.text } },
    legend: {
      orientation: "h",
      y: 1,
      yanchor: "bottom",
      x: 0,
      bgcolor: "rgba(0,0,0,0)",
      ...(NARROW.matches ? { entrywidth: 0.5, entrywidthmode: "fraction" } : {}),
    },
    dragmode: NARROW.matches ? false : "zoom",
    ...layout,
  };
  return Plotly.react(target, traces, whole, { displayModeBar: false, responsive: true }).then(() => {
    if (target.dataset.clicks) return;
    target.dataset.clicks = "true";
    target.on("plotly_click", ({ points }) => {
      const index = points[0].customdata;
      if (Number.isInteger(index)) showTrial(index);
    });
  });
}
