// Small charts: bars of shares, the attention over past steps, the loss of a training.

import { h, svg } from "./dom.js";
import { count, niceTicks, number, percent } from "./format.js";

const HEIGHT = 190;

/** Return bars of shares with their names, `[{name, share, text, mark}]`; a bar of the share `full` is as wide as it can be. */
export function bars(rows, { most = 12, full = Math.max(...rows.map((row) => row.share), 1e-9) } = {}) {
  const list = h("ul", { className: "bars" });
  for (const { name, share, text, mark } of rows.slice(0, most)) {
    const bar = svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    bar.append(svg("rect", { class: "bar-fill", width: Math.max((100 * share) / full, 0.5), height: 10 }));
    if (mark) bar.append(svg("line", { class: "bar-mark", x1: (100 * mark) / full, x2: (100 * mark) / full, y1: 0, y2: 10 }));
    list.append(h("li", {}, h("span", { className: "bar-name", text: name, title: name }), bar, h("span", { className: "bar-value", text: text || percent(share) })));
  }
  if (rows.length > most) list.append(h("li", { className: "more", text: `and ${count(rows.length - most)} more` }));
  return list;
}

const drawn = new Map(); // what each container shows, to be drawn again at another width
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const { width, draw } = drawn.get(target);
    if (target.clientWidth && target.clientWidth !== width) draw();
  }
});

/** Draw lines `[{name, kind, points: [[x, y]]}]` into a container. */
export function drawLines(container, lines, options) {
  drawn.set(container, { width: container.clientWidth, draw: () => drawLines(container, lines, options) });
  observer.observe(container);
  const { label, xName, isArea = false, lowest = null } = options;
  const width = Math.max(container.clientWidth, 240);
  const points = lines.flatMap((line) => line.points);
  if (!points.length) return container.replaceChildren();
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  let [low, high] = [lowest ?? Math.min(...ys), Math.max(...ys)];
  const room = (high - low || Math.abs(low) || 1) * 0.08;
  [low, high] = [lowest ?? low - room, high + room];
  const ticks = niceTicks(low, high, 4);
  const left = 16 + 6.7 * Math.max(...ticks.map((tick) => number(tick).length), 2);
  const top = lines.length > 1 ? 26 : 8;
  const bottom = HEIGHT - 38;
  const x = (value) => left + ((value - from) / (to - from || 1)) * (width - left - 12);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label, class: "fan" });
  for (const tick of ticks) {
    root.append(svg("line", { class: "grid", x1: left, x2: width - 12, y1: y(tick), y2: y(tick) }), svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  for (const tick of niceTicks(from, to, width < 560 ? 4 : 8, true)) {
    root.append(svg("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, count(tick)));
  }
  root.append(svg("text", { x: width - 12, y: HEIGHT - 4, "text-anchor": "end" }, xName), svg("line", { class: "axis", x1: left, x2: width - 12, y1: bottom, y2: bottom }));
  let at = left;
  for (const { name, kind, points: line } of lines) {
    const path = line.map(([px, py], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
    if (!path) continue;
    if (isArea) root.append(svg("path", { class: "band", d: `${path}L${x(line[line.length - 1][0]).toFixed(1)} ${bottom}L${x(line[0][0]).toFixed(1)} ${bottom}Z` }));
    root.append(svg("path", { class: kind, d: path }));
    if (line.length === 1) root.append(svg("circle", { class: `dot ${kind}`, cx: x(line[0][0]), cy: y(line[0][1]), r: 3 }));
    if (lines.length > 1) {
      root.append(svg("line", { class: kind, x1: at, x2: at + 22, y1: 10, y2: 10 }), svg("text", { x: at + 28, y: 14 }, name));
      at += 56 + 6.7 * name.length;
    }
  }
  container.replaceChildren(root);
}
