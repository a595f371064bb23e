// Numbers with their units, as the command line writes them. GB means 1e9 bytes.

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

const MISSING = "–";

// Formatters are slow to make, and a long history needs thousands of texts.
const NUMBERS = {};
const DATES = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

function number(value, digits = 0) {
  if (!isNumber(value)) return MISSING;
  NUMBERS[digits] ??= new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return NUMBERS[digits].format(value);
}

function memory(bytes) {
  if (!isNumber(bytes)) return MISSING;
  if (!bytes) return "0 MB";
  const { name, size } = memoryUnit([bytes]);
  return `${number(bytes / size, 1)} ${name}`;
}

// One unit for all values of a chart or a column: that of the smallest, unless it is far below the largest.
const FAR_BELOW = 20;

function smallest(values) {
  const sizes = values.filter((value) => isNumber(value) && value).map(Math.abs);
  return Math.max(Math.min(...sizes), Math.max(...sizes) / FAR_BELOW);
}

function memoryUnit(values) {
  const least = smallest(values);
  if (least >= 0.99995e9) return { name: "GB", size: 1e9 };
  return least >= 0.99995e6 ? { name: "MB", size: 1e6 } : { name: "kB", size: 1e3 };
}

function timeUnit(values) {
  const least = smallest(values);
  if (least >= 1) return { name: "s", size: 1, digits: 1 };
  return { name: "ms", size: 1e-3, digits: least < 0.01 ? 1 : 0 };
}

// Texts of a whole column, in one unit and precision.
function sameMemory(values) {
  const { name, size } = memoryUnit(values);
  return (bytes) => (isNumber(bytes) ? `${number(bytes / size, 1)} ${name}` : MISSING);
}

function sameTime(values) {
  const { name, size, digits } = timeUnit(values);
  return (seconds) => (isNumber(seconds) ? `${number(seconds / size, digits)} ${name}` : MISSING);
}

function time(seconds) {
  if (!isNumber(seconds)) return MISSING;
  if (seconds >= 100) return `${number(seconds)} s`;
  if (seconds >= 1) return `${number(seconds, 1)} s`;
  return `${number(seconds * 1e3, seconds < 0.01 ? 1 : 0)} ms`;
}

const speed = (value) => (isNumber(value) ? `${number(value)} tokens/s` : MISSING);

function share(value, signed = false) {
  if (!isNumber(value)) return MISSING;
  // What rounds to nothing has no sign.
  const percent = Math.round(value * 1000) / 10 + 0;
  return `${signed && percent > 0 ? "+" : ""}${number(percent, 1)} %`;
}

function date(text) {
  if (!text) return "date unknown";
  return `${DATES.format(new Date(text))} UTC`;
}

const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

// The value of an axis of the matrix: `512 tokens`, `on`, `adamw`, `0.05`.
function axisText(axis, row) {
  const value = row[axis.key];
  if (value === null) return MISSING;
  if (typeof value === "boolean") return value ? "on" : "off";
  const text = Number.isInteger(value) ? number(value) : String(value);
  return axis.unit ? `${text} ${axis.unit}` : text;
}

const axisOrder = (value) => (typeof value === "boolean" ? Number(value) : value);
