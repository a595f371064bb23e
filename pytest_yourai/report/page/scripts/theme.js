// Light and dark, and the colours that stand for values.

const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 73, 137], [49, 104, 142], [38, 130, 142],
  [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37],
];
const STORED_THEME = "pytest-yourai-theme";

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function storedTheme() {
  try {
    return localStorage.getItem(STORED_THEME);
  } catch {
    return null;
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : prefersDark.matches;
}

function nameSwitch() {
  const other = isDark() ? "Light" : "Dark";
  document.getElementById("theme").textContent = `${other} theme`;
}

function setUpTheme(redraw) {
  const stored = storedTheme();
  if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
  nameSwitch();
  const changed = () => {
    nameSwitch();
    redraw();
  };
  prefersDark.addEventListener("change", changed);
  document.getElementById("theme").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(STORED_THEME, theme);
    } catch {
      // A browser that keeps nothing shows the theme all the same.
    }
    changed();
  });
}

function viridis(position) {
  const place = Math.min(Math.max(position, 0), 1) * (VIRIDIS.length - 1);
  const before = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[before].map((from, channel) =>
    Math.round(from + (VIRIDIS[before + 1][channel] - from) * (place - before)),
  );
}

// The one scale of the heat map: the better, the stronger, whether little is good or much.
const SHADES = { light: [[232, 238, 246], [18, 84, 166]], dark: [[34, 44, 58], [132, 184, 255]] };

function shade(position) {
  const [worst, best] = SHADES[isDark() ? "dark" : "light"];
  return worst.map((from, channel) => Math.round(from + (best[channel] - from) * position));
}

const css = (rgb) => `rgb(${rgb.join(", ")})`;

// Black or white, whichever is read more easily: at least 4.5 to 1 on any colour.
function inkOn(rgb) {
  const [red, green, blue] = rgb.map((channel) => {
    const part = channel / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}
