// The page: which models there are, and what follows from a table that was chosen.

import { requestJson } from "./api.js";
import { byId, goTo, h, show, showError } from "./dom.js";
import { showModel, stepsText } from "./model.js";
import { forecastTable, listenForResults } from "./results.js";
import { chosenMapping, editMapping, editRoles, lackingColumns } from "./roles.js";
import { state } from "./state.js";
import { inspect, listenForFiles, showFile } from "./table.js";
import { follow, listenForTraining } from "./training.js";
import { listenForWhatIf, showControls } from "./whatif.js";

async function start() {
  state.onSeries = showControls;
  listenForFiles(chooseTable, choosePlan);
  listenForResults();
  listenForWhatIf();
  listenForTraining(useTrained);
  byId("forecast-form").addEventListener("submit", (event) => {
    event.preventDefault();
    forecast();
  });
  byId("model").addEventListener("change", ({ target }) => chooseModel(target.value));
  try {
    const { models, trains } = await requestJson("v1/models");
    state.trains = Boolean(trains);
    showModels(models);
    if (state.trains) await startTraining();
    const first = models.find((model) => model.default) || models[0];
    if (first) await chooseModel(first.name);
  } catch (error) {
    showError("start-error", error);
  }
}

/** Say what a server that trains is for, and show a training that runs. */
async function startTraining() {
  byId("lead").textContent = "Choose a table of time series. A Temporal Fusion Transformer is trained on it here, on this machine, and its forecasts, their reasons and a report follow.";
  const { trainings } = await requestJson("v1/trainings");
  const running = trainings.find((training) => training.state === "running");
  if (running) follow(running.id);
}

function showModels(models, chosen = "") {
  byId("model").replaceChildren(...models.map(({ name }) => h("option", { value: name, text: name, selected: name === chosen })));
  show(byId("models"), models.length > (state.trains ? 0 : 1));
}

async function chooseModel(name) {
  state.model = await requestJson(`v1/model?model=${encodeURIComponent(name)}`);
  byId("model").value = name;
  showModel(state.model);
  const { schema, horizon } = state.model;
  const planned = [...schema.known_real, ...schema.known_categorical];
  show(byId("plan-drop"), planned.length > 0);
  byId("plan-text").textContent = `${planned.join(", ")} of the next ${stepsText(horizon, schema.frequency)}, if the table does not end with ${planned.length > 1 ? "them" : "it"}`;
  for (const id of ["forecast", "what-if", "why"]) show(byId(id), false);
  if (state.inspection) showRoles();
}

async function chooseTable(file) {
  for (const id of ["forecast", "what-if", "why"]) show(byId(id), false);
  state.file = file;
  state.inspection = await inspect(file);
  if (!state.inspection) return;
  if (state.trains) {
    editRoles(state.inspection);
    byId("horizon").value = state.inspection.horizon || 1;
  }
  showRoles();
}

function choosePlan(file) {
  state.plan = file;
  showFile("plan-name", file);
  if (state.inspection && state.model) forecast();
}

/** Show the roles: to choose for a training, or as the shown model has them. */
function showRoles() {
  const { inspection, model } = state;
  show(byId("training-form"), state.trains);
  show(byId("forecast-form"), Boolean(model) && !(state.trains && lackingColumns(inspection, model).length));
  byId("forecast-button").textContent = state.trains ? `Forecast with ${model?.name}` : "Forecast";
  if (!state.trains && model) editMapping(inspection, model);
}

async function forecast() {
  const button = byId("forecast-button");
  showError("table-error", null);
  const text = button.textContent;
  button.disabled = true;
  button.textContent = "Forecasting …";
  document.body.setAttribute("aria-busy", "true");
  try {
    state.columns = state.trains ? {} : chosenMapping();
    await forecastTable();
    goTo("forecast");
  } catch (error) {
    showError("table-error", error);
    byId("table-error").scrollIntoView({ block: "center" });
  } finally {
    button.disabled = false;
    button.textContent = text;
    document.body.removeAttribute("aria-busy");
  }
}

async function useTrained(name) {
  const { models } = await requestJson("v1/models");
  showModels(models, name);
  await chooseModel(name);
  if (state.file) await forecast();
}

start();
