// What if: a control for each known column and each static one; the forecast with their values as a second line.

import { asJson, requestJson } from "./api.js";
import { announce, byId, debounce, h, show, showError } from "./dom.js";
import { number, percent } from "./format.js";
import { drawChart, idOf, path, seriesRequest, shownRows } from "./results.js";
import { state } from "./state.js";

const WAIT = 200; // milliseconds after the last movement of a slider
const MOST_CHOICES = 12;
const NOTCHES = 100; // of a slider
const AS_PLANNED = "";

let controls = [];
let running = null;

/** Build the controls for the shown series. */
export function showControls() {
  const { schema } = state.model;
  const { past, plan } = shownRows();
  const everywhere = [...state.rows.values()];
  const isThere = (rows) => (name) => rows.some((row) => row[name] !== null && row[name] !== undefined);
  controls = [
    ...(schema.known_real || []).filter(isThere(plan)).map((name) => knownReal(name, plan, past)),
    ...(schema.known_categorical || []).filter(isThere(plan)).map((name) => choice(name, "known", distinct([...past, ...plan], name), "as planned")),
    ...(schema.static_real || []).filter(isThere(past)).map((name) => staticReal(name, past, everywhere)),
    ...(schema.static_categorical || []).filter(isThere(past)).map((name) => choice(name, "static", distinct(everywhere.map((rows) => rows[0]), name), `as it is (${past[past.length - 1][name]})`)),
  ];
  byId("controls").replaceChildren(...controls.map((control) => control.element));
  showError("what-if-error", null);
  byId("what-if-status").textContent = "";
  show(byId("what-if"), controls.length > 0);
}

const distinct = (rows, name) => [...new Set(rows.map((row) => row[name]).filter((value) => value !== null && value !== undefined))].sort();

function knownReal(name, plan, past) {
  const values = plan.map((row) => row[name]);
  const all = [...past, ...plan].map((row) => row[name]).filter(Number.isFinite);
  const few = distinct([...past, ...plan], name);
  if (few.length <= MOST_CHOICES && few.every(Number.isInteger)) return choice(name, "known", few, "as planned");
  const given = values.filter(Number.isFinite);
  const mean = given.reduce((sum, value) => sum + value, 0) / given.length;
  const moved = (to) => values.map((value) => (Number.isFinite(value) ? value + (to - mean) : to));
  return slider(name, "known", mean, Math.min(...all), Math.max(...all), moved, given.length > 1 ? "mean over the horizon" : "");
}

function staticReal(name, past, everywhere) {
  const value = past[past.length - 1][name];
  const all = everywhere.map((rows) => rows[0][name]).filter(Number.isFinite);
  let [low, high] = [Math.min(...all, value), Math.max(...all, value)];
  if (low === high) [low, high] = [value - Math.abs(value || 1) / 2, value + Math.abs(value || 1) / 2];
  return slider(name, "static", value, low, high, (to) => to, "");
}

/** Return a slider whose value, where it was moved, is what `changed` makes of it. */
function slider(name, kind, start, low, high, changed, note) {
  const room = (high - low) / 10 || Math.abs(start) / 2 || 1;
  const [min, max] = [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  const id = `what-if-${name}`;
  // Positions are whole notches, so that the start is one of them whatever the numbers are.
  const width = (max - min) / NOTCHES;
  const at = (notch) => start + notch * width;
  const input = h("input", { type: "range", id, min: Math.ceil((min - start) / width), max: Math.floor((max - start) / width), step: 1, value: 0 });
  const output = h("output", { for: id });
  const say = () => {
    const text = number(at(input.valueAsNumber));
    output.textContent = input.valueAsNumber ? `${text} (${kind === "known" ? "planned" : "is"} ${number(start)})` : text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", () => { say(); ask(); });
  say();
  return {
    name, kind,
    element: h("div", { className: "control" }, h("label", { for: id }, h("b", { text: name }), note ? ` ${note}` : ""), input, output),
    value: () => (input.valueAsNumber ? changed(at(input.valueAsNumber)) : undefined),
    reset: () => { input.value = 0; say(); },
  };
}

function choice(name, kind, values, present) {
  const id = `what-if-${name}`;
  const select = h("select", { id }, h("option", { value: AS_PLANNED, text: present }), values.map((value, i) => h("option", { value: `v${i}`, text: String(value) })));
  select.addEventListener("change", () => ask());
  return {
    name, kind,
    element: h("div", { className: "control" }, h("label", { for: id }, h("b", { text: name })), select),
    value: () => (select.value === AS_PLANNED ? undefined : values[Number(select.value.slice(1))]),
    reset: () => { select.value = AS_PLANNED; },
  };
}

const ask = debounce(askNow, WAIT);

async function askNow() {
  const changes = controls.map((control) => [control, control.value()]).filter(([, value]) => value !== undefined);
  running?.abort();
  showError("what-if-error", null);
  if (!changes.length) return back();
  running = new AbortController();
  const of = (kind) => Object.fromEntries(changes.filter(([control]) => control.kind === kind).map(([control, value]) => [control.name, value]));
  const [known, statics] = [of("known"), of("static")];
  const { past, plan } = shownRows();
  const history = past.map((row) => ({ ...row, ...statics }));
  byId("chart").setAttribute("aria-busy", "true");
  try {
    const answer = await requestJson(path("what-if"), asJson(seriesRequest({ history, changes: known }), running.signal));
    const values = Object.fromEntries(Object.entries(known).map(([name, value]) => [name, Array.isArray(value) ? value : plan.map(() => value)]));
    state.changed = { forecasts: answer.changed.filter((row) => idOf(row) === state.series), values };
    drawChart();
    describe();
  } catch (error) {
    if (error.name !== "AbortError") showError("what-if-error", error);
  } finally {
    byId("chart").removeAttribute("aria-busy");
  }
}

function describe() {
  const target = byId("target").value;
  const name = state.model.schema.targets.length > 1 ? `${target}:y_hat` : "y_hat";
  const total = (rows) => rows.reduce((sum, row) => sum + row[name], 0);
  const [before, after] = [total(state.forecasts.get(state.series)), total(state.changed.forecasts)];
  const share = before ? ` (${after >= before ? "+" : "−"}${percent(Math.abs((after - before) / before))})` : "";
  byId("what-if-status").textContent = `The medians sum to ${number(after)} over the horizon, instead of ${number(before)}${share}.`;
}

function back() {
  running?.abort();
  state.changed = null;
  byId("what-if-status").textContent = "";
  drawChart();
}

/** Connect what resets the controls. */
export function listenForWhatIf() {
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => {
    controls.forEach((control) => control.reset());
    showError("what-if-error", null);
    back();
    announce("The values are those of the plan again.");
  });
}
