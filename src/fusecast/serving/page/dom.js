// Elements, messages and errors: the few functions that all modules build the page with.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Return an element with properties, attributes (`data-`, `aria-`, `for` and the like) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name in element && !name.includes("-") && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

export function show(element, visible = true) {
  element.hidden = !visible;
}

/** Announce something to screen readers that is visible elsewhere. */
export function announce(text) {
  byId("live").textContent = text;
}

/** Return a text as nodes, in which what stands between backticks is code. */
export function withCode(text) {
  return text.split("`").map((part, i) => (i % 2 ? h("code", { text: part }) : part));
}

/** Fill a list of notes, and hide it where there is none. */
export function showNotes(id, notes) {
  byId(id).replaceChildren(...notes.map((text) => h("li", {}, withCode(capitalized(text.replace(/\nHint: (.)/g, (_, first) => `. ${first.toUpperCase()}`))))));
  show(byId(id), notes.length > 0);
}

export const capitalized = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** Show an error in the words of the library; null takes it away. */
export function showError(place, error) {
  const element = byId(place);
  show(element, Boolean(error));
  if (!error) return element.replaceChildren();
  const [message, ...hints] = String(error.message || error).split(/\n(?:Hint: )?/);
  const where = [error.field && `column ${error.field}`, error.series && `series ${error.series}`, error.row && `row ${error.row}`];
  const unnamed = where.filter((word) => word && !message.includes(word.split(" ").slice(1).join(" ")));
  const hint = error.hint || hints.join(" ");
  element.replaceChildren(h("p", {}, withCode(capitalized(message) + (unnamed.length ? ` (${unnamed.join(", ")})` : ""))));
  if (hint) element.append(h("p", { className: "hint" }, withCode(capitalized(hint))));
}

/** Fill a table with a head and rows of text; numbers are aligned right by the style sheet. */
export function fillTable(table, head, rows, caption = "") {
  table.replaceChildren(
    ...(caption ? [h("caption", { className: "only-read", text: caption })] : []),
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col", text })))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((text, i) => (i ? h("td", { text }) : h("th", { scope: "row", text })))))),
  );
}

/** Fill a definition list. */
export function fillFacts(list, facts) {
  list.replaceChildren(
    ...Object.entries(facts).filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) =>
      h("div", {}, h("dt", { text: name }), h("dd", { text: String(value) }))),
  );
}

/** Call a function once its calls have stopped for some milliseconds. */
export function debounce(action, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}

/** Move the keyboard to a section and bring it into view. */
export function goTo(id) {
  const section = byId(id);
  section.focus({ preventScroll: true });
  const smooth = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  section.scrollIntoView({ behavior: smooth ? "smooth" : "auto", block: "start" });
}
