// The roles of columns: chosen for a training, or which column of the table stands for each column of a model.

import { byId, h } from "./dom.js";
import { count } from "./format.js";

const ROLES = {
  id: "id of the series",
  time: "time",
  target: "target, to forecast",
  known: "known ahead",
  observed: "observed up to now",
  static: "static, one value a series",
  unused: "not used",
};
const GROUPS = [["id", "id"], ["time", "time"], ["targets", "target"], ["known_real", "known"], ["known_categorical", "known"], ["observed_real", "observed"], ["observed_categorical", "observed"], ["static_real", "static"], ["static_categorical", "static"]];

const TYPES = [[/^(u?int)/i, "whole number"], [/^(float|decimal)/i, "number"], [/^(str|cat|enum)/i, "text"], [/^bool/i, "yes or no"], [/^(date|time)/i, "time"]];

/** Return the type of a column in words. */
const typeText = (dtype) => TYPES.find(([pattern]) => pattern.test(dtype))?.[1] ?? dtype;
const isText = ({ dtype }) => ["text", "yes or no"].includes(typeText(dtype)); // such a column is a category in any case

const head = (...names) => h("thead", {}, h("tr", {}, names.map((text) => h("th", { scope: "col", text }))));
const options = (pairs, chosen) => pairs.map(([value, text]) => h("option", { value, text, selected: value === chosen }));

/** Show a row for each column of a table, with its role and kind to choose. */
export function editRoles(inspection) {
  const rows = inspection.columns.map((column) => {
    const { name, dtype, role, kind, reason, missing } = column;
    const select = h("select", { "aria-label": `Role of ${name}`, "data-role": name }, options(Object.entries(ROLES), role || "unused"));
    const box = h("input", { type: "checkbox", "aria-label": `${name} is a category`, "data-kind": name, checked: kind === "categorical" });
    const enable = () => (box.disabled = isText(column) || ["id", "time", "target", "unused"].includes(select.value));
    select.addEventListener("change", enable);
    enable();
    return h("tr", {}, h("th", { scope: "row", text: name }), h("td", { "data-name": "Role" }, select), h("td", { "data-name": "Category" }, box), h("td", { "data-name": "Type", text: typeText(dtype) }), h("td", { "data-name": "Missing", text: count(missing) }), h("td", { className: "reason", "data-name": "Because", text: reason }));
  });
  byId("roles-title").textContent = "Roles of the columns";
  byId("roles-details").open = true;
  byId("roles").replaceChildren(head("Column", "Role", "Category", "Type", "Missing", "Proposed because"), h("tbody", {}, rows));
}

/** Return the roles that were chosen, as options of a training; throw an Error that says what is missing. */
export function chosenRoles() {
  const table = byId("roles");
  const roles = new Map([...table.querySelectorAll("[data-role]")].map((select) => [select.dataset.role, select.value]));
  const named = (role) => [...roles].filter(([, each]) => each === role).map(([name]) => name);
  const [times, targets, ids] = [named("time"), named("target"), named("id")];
  if (times.length !== 1) throw new Error(times.length ? `only one column can be the time, not ${times.join(" and ")}` : "no column is the time\nHint: choose the role “time” for one column");
  if (!targets.length) throw new Error("no column is the target\nHint: choose the role “target” for the column to forecast");
  const categorical = [...table.querySelectorAll("[data-kind]")].filter((box) => box.checked && !box.disabled);
  return { id: ids.length ? ids : null, time: times[0], target: targets, static: named("static"), known: named("known"), observed: named("observed"), categorical: categorical.map((box) => box.dataset.kind) };
}

/** Return the columns of a model that a table does not have under their names. */
export function lackingColumns(inspection, model) {
  const names = new Set(inspection.columns.map((column) => column.name));
  return modelColumns(model).map((column) => column.name).filter((name) => !names.has(name));
}

/** Return the columns of a model with their roles, in the order of the roles: `[{name, role, kind}]`. */
export function modelColumns({ schema }) {
  return GROUPS.flatMap(([group, role]) => [schema[group] ?? []].flat().map((name) => ({ name, role, kind: group.endsWith("categorical") ? "category" : "" })));
}

/** Show a row for each column of a model, with the column of the table that stands for it to choose. */
export function editMapping(inspection, model) {
  const names = inspection.columns.map((column) => column.name);
  const proposed = Object.groupBy ? Object.groupBy(inspection.columns, (column) => column.role) : {};
  const taken = new Set();
  const rows = modelColumns(model).map(({ name, role, kind }) => {
    const alike = names.find((each) => each === name) ?? names.find((each) => each.toLowerCase() === name.toLowerCase());
    const only = ["id", "time", "target"].includes(role) && proposed[role]?.length === 1 ? proposed[role][0].name : "";
    const chosen = alike ?? (names.includes(only) && !taken.has(only) ? only : "");
    taken.add(chosen);
    const select = h("select", { "aria-label": `Column for ${name}`, "data-for": name }, options([["", "not in the table"], ...names.map((each) => [each, each])], chosen));
    return h("tr", {}, h("th", { scope: "row", text: name }), h("td", { "data-name": "Role", text: ROLES[role] }), h("td", { "data-name": "Kind", text: ["id", "time"].includes(role) ? "" : kind || "number" }), h("td", { "data-name": "Column of the table" }, select));
  });
  const lacking = rows.filter((row) => !row.querySelector("select").value).map((row) => row.children[0].textContent);
  byId("roles-title").textContent = lacking.length ? `Columns of the model that are not in the table: ${lacking.join(", ")}` : `All ${rows.length} columns of the model are in the table`;
  byId("roles-details").open = lacking.length > 0;
  byId("roles").replaceChildren(head("The model reads", "Role", "Kind", "Column of your table"), h("tbody", {}, rows));
}

/** Return the columns of the table that are named otherwise in the model, as `{column: name in the model}`. */
export function chosenMapping() {
  const pairs = [...byId("roles").querySelectorAll("[data-for]")].map((select) => [select.value, select.dataset.for]);
  return Object.fromEntries(pairs.filter(([column, name]) => column && column !== name));
}
