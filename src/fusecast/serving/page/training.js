// Training on the table (`fusecast ui`): start, progress with the loss, stop, and the way to the report.

import { asForm, requestJson } from "./api.js";
import { announce, byId, goTo, h, show, showError } from "./dom.js";
import { drawLines } from "./figures.js";
import { count, duration } from "./format.js";
import { chosenRoles } from "./roles.js";
import { state } from "./state.js";

const POLL = 500; // milliseconds

let current = null; // the id of the training that is shown
let onModel = async () => {};

/** Connect the form and the stop button; `onTrained(name)` is called with the name of each new model. */
export function listenForTraining(onTrained) {
  onModel = onTrained;
  byId("training-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  byId("stop").addEventListener("click", stop);
}

async function start() {
  showError("table-error", null);
  byId("train-button").disabled = true;
  try {
    const lookback = byId("lookback").value;
    const options = { ...chosenRoles(), frequency: state.inspection.frequency, horizon: Number(byId("horizon").value), time_budget: byId("budget").value, ...(lookback ? { lookback: Number(lookback) } : {}) };
    const { id } = await requestJson("v1/trainings", asForm({ table: state.file, name: state.file.name, options }));
    follow(id);
    goTo("training");
  } catch (error) {
    showError("table-error", error);
    byId("train-button").disabled = false;
  }
}

/** Show a training until it ends. */
export async function follow(id) {
  current = id;
  show(byId("training"));
  show(byId("training-done"), false);
  show(byId("stop"));
  byId("stop").textContent = "Stop";
  byId("train-button").disabled = true;
  showError("training-error", null);
  let phase = "";
  while (current === id) {
    let training;
    try {
      training = await requestJson(`v1/trainings/${id}`);
    } catch (error) {
      showError("training-error", error);
      break;
    }
    showTraining(training);
    if (training.phase !== phase) announce((phase = training.phase));
    if (training.state !== "running") {
      await finish(id, training);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
  byId("train-button").disabled = false;
}

function showTraining({ state: name, phase, step, steps, share, seconds, budget, losses, folder }) {
  const bar = byId("progress");
  if (share === null || share === undefined) bar.removeAttribute("value");
  else bar.value = name === "running" ? share : 1;
  const words = [phase[0].toUpperCase() + phase.slice(1)];
  if (step) words.push(steps ? `step ${count(step)} of about ${count(steps)}` : `step ${count(step)}`);
  words.push(budget && name === "running" ? `${duration(seconds)} of ${duration(budget)}` : duration(seconds));
  byId("training-status").textContent = words.join(" · ");
  byId("training-text").textContent = `It runs in a process of its own, in ${folder}. A stopped training keeps what it has learned so far.`;
  const line = (key) => losses.filter((row) => Number.isFinite(row[key])).map((row) => [row.step, row[key]]);
  const lines = [{ name: "training rows", kind: "actual thin", points: line("train") }, { name: "validation rows", kind: "median", points: line("validation") }].filter((each) => each.points.length);
  show(byId("loss-figure"), lines.length > 0);
  const last = losses[losses.length - 1];
  if (lines.length) drawLines(byId("loss"), lines, { label: `Loss after ${last.step} steps: ${last.train}`, xName: "steps" });
}

async function finish(id, training) {
  show(byId("stop"), false);
  const words = { done: "The training is done.", stopped: training.model ? "The training was stopped; what it had learned is the model." : "The training was stopped before there was a model.", failed: "The training failed." };
  if (training.state === "failed") showError("training-error", new Error(training.message));
  const done = byId("training-done");
  show(done, training.state !== "failed");
  done.replaceChildren(words[training.state] || "");
  if (training.report) done.append(" ", h("a", { href: `v1/trainings/${id}/report`, target: "_blank", rel: "noopener", text: "Open the report" }), ` · it is in ${training.folder}`);
  announce(words[training.state]);
  if (training.model) await onModel(training.model);
}

/** Stop with the best weights so far, which takes a while; the second time, at once and without a model. */
async function stop() {
  byId("stop").textContent = "Stop at once";
  announce("The training is being stopped.");
  try {
    await requestJson(`v1/trainings/${current}`, { method: "DELETE" });
  } catch (error) {
    showError("training-error", error);
  }
}
