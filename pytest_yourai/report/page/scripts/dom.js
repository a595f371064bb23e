// Elements are made here alone. Text is set as text: what a profile says is never markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const state = { profile: DATA.opened, measure: "minimum", row: null };

const profile = () => DATA.profiles[state.profile];

// One sign for each answer, wherever it stands.
const SIGNS = { largest: "▲", fastest: "▶", leanest: "▼" };
const MEANINGS = {
  largest: "highest score",
  fastest: "most tokens per second",
  leanest: "least memory within 3 % of the fastest",
};

const answersOf = (index) => profile().answers.find(({ row }) => row === index)?.names ?? [];
const signsOf = (index) => answersOf(index).map((name) => SIGNS[name]).join("");

const isOverBudget = (row) => profile().has_minima && row.peak_memory_bytes > (profile().memory_limit_bytes ?? Infinity);

const overBudgetWords = (row) => (row.recorded_without_budget ? "recorded without this budget" : "over the budget");

const el = (tag, attributes, ...children) => furnished(document.createElement(tag), attributes, ...children);

// The element with its attributes, listeners, style and children.
function furnished(element, attributes, ...children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    } else if (name === "style") {
      for (const [property, to] of Object.entries(value)) element.style.setProperty(property, to);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  return fill(element, ...children);
}

// Puts `children` in the place of what is there; what is null is left out.
function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((each) => each !== null && each !== undefined));
  return element;
}

// `short` is its name among the links to sections.
function section(id, short, title, ...children) {
  return el(
    "section",
    { id, "aria-labelledby": `${id}-title`, class: "panel", "data-short": short },
    el("h2", { id: `${id}-title` }, title),
    ...children,
  );
}

function facts(pairs, attributes) {
  return el(
    "dl",
    { class: "facts", ...attributes },
    pairs
      .filter(([, text]) => text !== null && text !== undefined && text !== "")
      .map(([label, text]) => el("div", {}, el("dt", {}, label), el("dd", {}, text))),
  );
}

const notes = (texts) => el("ul", { class: "notes" }, texts.map((each) => el("li", {}, each)));

function badge(outcome) {
  const known = DATA.outcomes[outcome];
  return el(
    "span",
    { class: `badge ${known.kind}` },
    el("span", { class: "letter", "aria-hidden": "true" }, known.letter),
    known.words,
  );
}

function labelled(id, label, control) {
  control.id = id;
  return el("span", { class: "choice" }, el("label", { for: id }, label), control);
}

function choice(id, label, options, chosen, act) {
  const select = el(
    "select",
    { on: { change: (event) => act(event.target.value) } },
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
  return labelled(id, label, select);
}
