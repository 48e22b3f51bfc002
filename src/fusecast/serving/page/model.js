// What the server says of a model: its title, accuracy, coverage and facts.

import { byId, fillFacts, fillTable, h, show } from "./dom.js";
import { bars } from "./figures.js";
import { number, percent, plainTime, plural } from "./format.js";
import { modelColumns } from "./roles.js";
import { state } from "./state.js";

const LARGE_ERROR = 0.05; // of a coverage, which then is marked

/** Return a number of steps in words, as long as they are: "24 h", "30 steps". */
export function stepsText(steps, frequency) {
  const match = /^(\d+)(mo|[smhdwqy]|ms)$/.exec(frequency || "");
  if (!match) return plural(steps, "step");
  const unit = { s: "seconds", m: "min", h: "h", d: "days", w: "weeks", mo: "months", q: "quarters", y: "years" }[match[2]];
  const number_ = steps * Number(match[1]);
  return unit ? `${number_} ${number_ === 1 ? unit.replace(/s$/, "") : unit}` : plural(steps, "step");
}

export function showModel(model) {
  const { schema, horizon, lookback } = model;
  const target = schema.targets.join(", ");
  document.title = `${target}, ${stepsText(horizon, schema.frequency)} ahead – fusecast`;
  byId("kicker").textContent = model.name;
  byId("title").textContent = `${target}, ${stepsText(horizon, schema.frequency)} ahead`;
  byId("lead").textContent = `A Temporal Fusion Transformer forecasts ${target} ${stepsText(horizon, schema.frequency)} ahead from the last ${stepsText(lookback, schema.frequency)}. ${state.trains ? "Choose any table to train another model." : "Choose a table with the columns that it was trained on, and it is forecast here."}`;
  byId("footer").textContent = `fusecast ${model.version || ""} · model ${String(model.model_id || "").slice(0, 12)}`;
  showScores(model);
  const columns = modelColumns(model);
  const names = (role) => columns.filter((column) => column.role === role).map((column) => column.name).join(", ");
  fillFacts(byId("model-facts"), {
    Targets: names("target"),
    "Known ahead": names("known"),
    "Filled by the calendar": (model.calendar || []).join(", "),
    Observed: names("observed"),
    Static: names("static"),
    "One step": schema.frequency,
    "Quantile levels": (model.quantiles || []).join(", "),
    Networks: model.members,
    Calibrated: model.calibrated ? "yes" : "no",
    Created: model.created && plainTime(model.created).replace(/\+00:00$/, " UTC"),
  });
  show(byId("about"));
}

const scoreText = (name, value) => (name === "skill" && value !== null ? `${value > 0 ? "+" : ""}${percent(value)}` : number(value));

function showScores(model) {
  const rows = (model.accuracy || []).length ? model.accuracy : [];
  const names = rows.length ? Object.keys(rows[0]).filter((name) => name !== "model") : [];
  fillTable(byId("accuracy"), ["Forecast", ...names], rows.map((row) => [row.model, ...names.map((name) => scoreText(name, row[name]))]), "Accuracy beside simple forecasts");
  byId("accuracy").querySelector("tbody tr")?.classList.add("model");
  show(byId("accuracy-figure"), rows.length > 0);
  const coverage = Object.entries(model.coverage || {});
  const shares = coverage.map(([level, share]) => ({ name: `${level}% interval`, share, mark: Number(level) / 100, text: percent(share) }));
  byId("coverage").replaceChildren(bars(shares, { full: 1 }));
  const wrong = coverage.filter(([level, share]) => Math.abs(share - Number(level) / 100) > LARGE_ERROR);
  if (wrong.length) byId("coverage").append(h("p", { className: "status", text: "The mark is what the interval promises." }));
  show(byId("coverage-figure"), shares.length > 0);
}
