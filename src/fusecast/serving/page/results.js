// The forecasts of a table: series to choose, the chart and table of one, its explanation, and downloads.

import { asForm, asJson, request, requestJson } from "./api.js";
import { FanChart } from "./chart.js";
import { announce, byId, fillTable, h, show, showError, showNotes } from "./dom.js";
import { bars, drawLines } from "./figures.js";
import { number, plainTime, position, zoneShift } from "./format.js";
import { state } from "./state.js";

const MOST_STEPS = 1_000; // of history in the chart
const MOST_ROWS = 200_000; // of the table that an answer brings back
const HORIZONS_SHOWN = 5;
const MOST_LISTED = 2_000; // series in the list of the picker; any other can be typed
const MOST_LANES = 4;

const chart = new FanChart(byId("chart"), byId("reading"));

export const idOf = (row) => state.ids.map((name) => row[name]).join(",");

/** Return the options of a request for the forecasts of the table, as the files are. */
function fileRequest(fields = {}) {
  const columns = Object.keys(state.columns).length ? state.columns : null;
  return asForm({ history: state.file, plan: state.plan, columns, ...fields });
}

export const path = (verb) => `v1/${verb}?model=${encodeURIComponent(state.model.name)}`;

/** Return how many rows of history the chart of a series, and the model, need. */
function rowsOfSeries() {
  const { horizon, lookback } = state.model;
  return Math.max(lookback, Math.min(MOST_STEPS, HORIZONS_SHOWN * horizon, 10 * lookback), 60);
}

/** Forecast the table, and show its first series. */
export async function forecastTable() {
  const { schema } = state.model;
  // Of very many series, the rows of each are asked for when it is shown.
  const rows = rowsOfSeries() * state.inspection.num_series > MOST_ROWS ? 0 : rowsOfSeries();
  const answer = await requestJson(path("forecast"), fileRequest({ history_rows: rows }));
  state.ids = [schema.id ?? []].flat();
  state.forecasts = groupRows(answer.forecasts);
  state.rows = new Map();
  state.plans = new Map();
  keepRows(answer);
  const names = [...state.forecasts.keys()];
  byId("series-names").replaceChildren(...names.slice(0, MOST_LISTED).map((value) => h("option", { value })));
  byId("target").replaceChildren(...schema.targets.map((value) => h("option", { value, text: value })));
  show(byId("series-picker"), names.length > 1);
  show(byId("target-picker"), schema.targets.length > 1);
  showNotes("forecast-notes", answer.notes || []);
  show(byId("forecast"));
  await showSeries(names[0]);
}

/** Return rows by the id of their series. */
function groupRows(rows) {
  const groups = new Map();
  for (const row of rows) {
    const id = idOf(row);
    if (!groups.has(id)) groups.set(id, []);
    groups.get(id).push(row);
  }
  return groups;
}

function keepRows({ history, plan }) {
  for (const [id, rows] of groupRows(history || [])) state.rows.set(id, rows);
  for (const [id, rows] of groupRows(plan || [])) state.plans.set(id, rows);
}

/** Show the series of an id; what depends on it is asked for again. */
async function showSeries(id) {
  state.series = id;
  state.changed = null;
  byId("series").value = id;
  showError("forecast-error", null);
  if (!state.rows.has(id)) {
    try {
      keepRows(await requestJson(path("forecast"), fileRequest({ history_rows: rowsOfSeries(), series: [id] })));
    } catch (error) {
      showError("forecast-error", error);
    }
    if (state.series !== id) return; // another one was chosen meanwhile
  }
  drawChart();
  explain();
  state.onSeries();
}

/** Return the rows of the shown series before its forecast, and the known values of the steps after them. */
export function shownRows() {
  return { past: state.rows.get(state.series) || [], plan: state.plans.get(state.series) || [] };
}

/** Return the body of a request about the shown series alone. */
export function seriesRequest(fields) {
  const { past, plan } = shownRows();
  return { history: past, plan: plan.length ? plan : null, ...fields };
}

/** Draw the chart of the shown series and target; `state.changed` holds its rows and plan after a what-if. */
export function drawChart() {
  const { schema, horizon } = state.model;
  const target = byId("target").value || schema.targets[0];
  const prefix = schema.targets.length > 1 ? `${target}:` : "";
  const forecasts = state.forecasts.get(state.series) || [];
  const names = Object.keys(forecasts[0] || {}).filter((name) => name.startsWith(`${prefix}q`) && !Number.isNaN(Number(name.slice(prefix.length + 1))));
  const point = (row) => ({ t: position(row[schema.time]), median: row[`${prefix}y_hat`], values: names.map((name) => row[name]) });
  const { past, plan } = shownRows();
  const shown = past.slice(-Math.max(Math.min(MOST_STEPS, HORIZONS_SHOWN * horizon), 60));
  const known = [...(schema.known_real || []), ...(schema.known_categorical || [])].filter((name) => plan.some((row) => name in row));
  const lanes = known.slice(0, MOST_LANES).map((name) => {
    const line = (rows) => rows.map((row) => ({ t: position(row[schema.time]), v: row[name] ?? null }));
    return { name, points: line([...shown, ...plan]), changed: state.changed?.values[name] ? line(plan.map((row, i) => ({ ...row, [name]: state.changed.values[name][i] }))) : null };
  });
  const times = forecasts.map((row) => row[schema.time]);
  const title = state.series ? `${target} of ${state.series}` : target;
  chart.update({
    history: shown.map((row) => ({ t: position(row[schema.time]), y: toNumber(row[target]) })),
    forecast: forecasts.map(point),
    changed: state.changed?.forecasts.map(point) || null,
    levels: names.map((name) => Number(name.slice(prefix.length + 1))),
    lanes,
    isTime: typeof times[0] !== "number",
    shift: typeof times[0] === "number" ? 0 : zoneShift(times[0]),
    label: `${title}: forecast of ${forecasts.length} steps, ${plainTime(times[0])} to ${plainTime(times[times.length - 1])}, after ${shown.length} steps of history. The table below has the numbers.`,
  });
  const changed = state.changed ? ["what if"] : [];
  fillTable(
    byId("forecast-table"),
    [schema.time, "median", ...changed, ...names.map((name) => name.slice(prefix.length))],
    forecasts.map((row, i) => [plainTime(row[schema.time]), number(row[`${prefix}y_hat`]), ...changed.map(() => number(state.changed.forecasts[i]?.[`${prefix}y_hat`])), ...names.map((name) => number(row[name]))]),
    title,
  );
}

const toNumber = (value) => (value === null || value === undefined || value === "" ? NaN : Number(value));

let explaining = null;

async function explain() {
  explaining?.abort();
  explaining = new AbortController();
  showError("why-error", null);
  try {
    const { explanation } = await requestJson(path("forecast"), asJson(seriesRequest({ explanation: true }), explaining.signal));
    show(byId("why"), Boolean(explanation));
    if (explanation) showExplanation(explanation);
  } catch (error) {
    if (error.name === "AbortError") return;
    show(byId("why"));
    byId("importance").replaceChildren();
    show(byId("attention-figure"), false);
    showError("why-error", error);
  }
}

/** Return the name of an input without the words that mark those that are not columns of the table. */
const plainName = (name) => name.replace(/^calendar:(.*)$/, "$1 (calendar)").replace(/^series:(.*)$/, "$1 (series)").replace(/_/g, " ");

const GROUPS = { past: "Past variables", future: "Coming variables", static: "Static variables" };

function showExplanation({ importance, attention }) {
  const figures = Object.entries(GROUPS).filter(([name]) => importance[name]?.length).map(([name, title]) => {
    const rows = importance[name].map(({ variable, weight }) => ({ name: plainName(variable), share: weight })).sort((a, b) => b.share - a.share);
    return h("figure", {}, h("figcaption", {}, h("b", { text: title }), " share of the selection"), bars(rows));
  });
  byId("importance").replaceChildren(...figures);
  const points = attention.map(({ lag, weight }) => [lag, weight]).sort((a, b) => a[0] - b[0]);
  show(byId("attention-figure"), points.length > 0);
  const top = [...points].sort((a, b) => b[1] - a[1])[0];
  const label = top ? `Attention over ${points.length} steps; most at lag ${top[0]}.` : "";
  drawLines(byId("attention"), [{ name: "attention", kind: "median", points }], { label, xName: "steps; 0 is the first one forecast", isArea: true, lowest: 0 });
}

/** Connect the pickers and the downloads. */
export function listenForResults() {
  const step = (by) => () => {
    const names = [...state.forecasts.keys()];
    showSeries(names[(names.indexOf(state.series) + by + names.length) % names.length]);
    announce(`Series ${state.series}`);
  };
  byId("previous").addEventListener("click", step(-1));
  byId("next").addEventListener("click", step(1));
  byId("target").addEventListener("change", drawChart);
  byId("series").addEventListener("change", ({ target }) => {
    if (state.forecasts.has(target.value)) showSeries(target.value);
    else showError("forecast-error", new Error(`there is no series “${target.value}” in the forecasts`));
  });
  byId("series").addEventListener("focus", ({ target }) => target.select());
  for (const button of document.querySelectorAll("[data-download]")) button.addEventListener("click", () => download(button));
}

const TYPES = { csv: "text/csv", parquet: "application/vnd.apache.parquet" };

async function download(button) {
  const kind = button.dataset.download;
  showError("forecast-error", null);
  button.disabled = true;
  try {
    const blob = kind === "svg" ? new Blob([chart.export()], { type: "image/svg+xml" }) : await (await request(path("forecast"), { ...fileRequest(), headers: { Accept: TYPES[kind] } })).blob();
    const address = URL.createObjectURL(blob);
    h("a", { href: address, download: kind === "svg" && state.series ? `forecast-${state.series}.svg` : `forecasts.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    announce("The download has begun.");
  } catch (error) {
    showError("forecast-error", error);
  } finally {
    button.disabled = false;
    button.focus();
  }
}
