// The table of the user and its plan: chosen or dropped files, and what the server understood of them.

import { asForm, requestJson } from "./api.js";
import { announce, byId, fillFacts, fillTable, h, show, showError, showNotes } from "./dom.js";
import { bytes, count, number, plainTime, plural } from "./format.js";
import { state } from "./state.js";

const MOST_PREVIEWED = 40; // columns
const ABOUT_ROLES = /`(fit|id|time|target|known|observed|static|categorical)`/; // notes that a trained model has answered

/** Connect the file inputs and drop zones; `onTable(file)` and `onPlan(file)` are called with each chosen file. */
export function listenForFiles(onTable, onPlan) {
  for (const [name, zone, action] of [["file", "drop", onTable], ["plan", "plan-drop", onPlan]]) {
    const [input, drop] = [byId(name), byId(zone)];
    input.addEventListener("change", () => {
      if (input.files.length) action(input.files[0]);
      input.value = ""; // the same file can be chosen again after it was mended
    });
    for (const event of ["dragenter", "dragover"]) drop.addEventListener(event, () => drop.classList.add("over"));
    for (const event of ["dragleave", "drop"]) drop.addEventListener(event, () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => event.dataTransfer.files.length && action(event.dataTransfer.files[0]));
  }
  // A file that misses the zone would otherwise replace the page.
  for (const event of ["dragover", "drop"]) document.addEventListener(event, (each) => each.preventDefault());
}

export function showFile(place, file) {
  show(byId(place), Boolean(file));
  if (file) byId(place).replaceChildren(h("b", { text: file.name }), ` ${bytes(file.size)}`);
}

/** Return what the server understands of a table, and show it; null where it is no table, which is said. */
export async function inspect(file) {
  const zone = byId("drop");
  showError("table-error", null);
  showFile("file-name", file);
  show(byId("understood"), false);
  zone.setAttribute("aria-busy", "true");
  announce(`Reading ${file.name}`);
  try {
    const inspection = await requestJson("v1/inspect", asForm({ table: file }));
    showInspection(inspection);
    return inspection;
  } catch (error) {
    showError("table-error", error);
    return null;
  } finally {
    zone.removeAttribute("aria-busy");
  }
}

function showInspection(table) {
  const lengths = table.lengths && (table.lengths[0] === table.lengths[2] ? count(table.lengths[0]) : `${count(table.lengths[0])} to ${count(table.lengths[2])}`);
  fillFacts(byId("table-facts"), {
    Rows: count(table.rows),
    Series: count(table.num_series),
    "Steps a series": lengths,
    "One step": table.frequency || "unclear",
    From: table.span && plainTime(table.span[0]),
    To: table.span && plainTime(table.span[1]),
    "To forecast": table.future_steps ? plural(table.future_steps, "step") : null,
  });
  const notes = state.trains ? table.warnings : table.warnings.filter((text) => !ABOUT_ROLES.test(text));
  showNotes("table-notes", notes);
  const names = table.columns.slice(0, MOST_PREVIEWED).map((column) => column.name);
  fillTable(byId("preview"), names, table.preview.map((row) => names.map((name) => (typeof row[name] === "number" ? number(row[name]) : String(row[name] ?? "")))));
  show(byId("understood"));
  announce(`The table has ${plural(table.rows, "row")} and ${plural(table.num_series, "series")}.`);
}
