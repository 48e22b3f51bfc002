// The fan chart of one series: history, quantile bands, median, the changed forecast, and lanes of known values below.

import { h, svg } from "./dom.js";
import { niceTicks, number, percent, timeText, timeTicks } from "./format.js";

const LANE = 46;
const BEFORE_LANES = 10;
const PHONE = 560; // pixels of width below which there is less of everything
const RIGHT = 12;
const TEXT = 6.7; // pixels a character of small text, about

/**
 * Draws `data`: `{isTime, shift, target, history: [{t, y}], forecast: [{t, median, values}], levels, changed, lanes, label}`,
 * where `t` are positions, `values` those of the quantile levels, and a lane is `{name, points: [{t, v}], changed}`.
 */
export class FanChart {
  constructor(container, reading) {
    Object.assign(this, { container, reading, data: null, svg: null, at: -1 });
    new ResizeObserver(() => this.data && this.width !== container.clientWidth && this.draw()).observe(container);
  }

  update(data) {
    this.data = data;
    this.at = -1;
    this.draw();
  }

  draw() {
    const { forecast, changed, lanes, isTime } = this.data;
    this.width = Math.max(this.container.clientWidth, 240);
    const phone = this.width < PHONE;
    const history = (this.history = this.data.history.slice(phone ? -Math.max(2 * forecast.length, 24) : 0));
    const items = this.legendItems();
    const legendRows = this.layLegend(items);
    const top = 22 * legendRows + 14;
    const plot = phone ? 230 : 300;
    const below = lanes.length ? BEFORE_LANES + LANE * lanes.length : 0;
    const height = top + plot + below + 40;
    const [low, high] = this.valueRange();
    const ticks = niceTicks(low, high, 5);
    const left = 16 + TEXT * Math.max(...ticks.map((tick) => number(tick).length), 2);
    const times = this.points().map((point) => point.t);
    const [from, to] = [times[0], Math.max(times[times.length - 1], times[0] + 1)];
    this.x = (t) => left + ((t - from) / (to - from)) * (this.width - left - RIGHT);
    const y = (value) => top + plot - ((value - low) / (high - low || 1)) * plot;
    Object.assign(this, { bottom: top + plot + below, y });

    const root = svg("svg", { viewBox: `0 0 ${this.width} ${height}`, width: this.width, height, role: "img", tabindex: 0, "aria-label": this.data.label, "aria-describedby": this.reading.id, class: "fan" });
    root.append(this.drawLegend(items), ...this.drawAxes(ticks, left));
    if (history.length && forecast.length) {
      const now = this.x((history[history.length - 1].t + forecast[0].t) / 2);
      root.append(svg("line", { class: "now", x1: now, x2: now, y1: top, y2: this.bottom }));
    }
    this.bands().forEach((band) => root.append(this.drawBand(forecast, band, "band")));
    if (changed) this.bands().slice(0, 1).forEach((band) => root.append(this.drawBand(changed, band, "band changed")));
    root.append(this.drawLine(history, (point) => point.y, "actual"), this.drawLine(forecast, (point) => point.median, "median"));
    if (changed) root.append(this.drawLine(changed, (point) => point.median, "median changed"));
    lanes.forEach((lane, i) => root.append(...this.drawLane(lane, left, top + plot + BEFORE_LANES + LANE * i)));
    root.append(...this.drawTimes(timeTicks(from + this.data.shift, to + this.data.shift, isTime, phone ? 4 : 9), left));
    this.crosshair = svg("line", { class: "crosshair", y1: top, y2: this.bottom, visibility: "hidden" });
    root.append(this.crosshair);
    this.listen(root);
    const focused = this.svg !== null && document.activeElement === this.svg;
    this.container.replaceChildren(root);
    this.svg = root;
    if (focused) root.focus({ preventScroll: true });
    this.read(this.at);
  }

  /** Return pairs of levels, the widest first. */
  bands() {
    const { levels } = this.data;
    return levels.slice(0, Math.floor(levels.length / 2)).map((level, i) => ({ low: i, high: levels.length - 1 - i, name: `${percent(levels[levels.length - 1 - i] - level)} interval` }));
  }

  legendItems() {
    const items = [{ name: "actual", kind: "actual" }, { name: "forecast, median", kind: "median" }];
    items.push(...this.bands().map((band) => ({ name: band.name, kind: "band" })));
    if (this.data.changed) items.push({ name: "what if", kind: "median changed" });
    return items;
  }

  layLegend(items) {
    let [x, row] = [0, 0];
    for (const item of items) {
      const width = 30 + TEXT * item.name.length + 18;
      if (x && x + width > this.width) [x, row] = [0, row + 1];
      Object.assign(item, { x, y: 10 + 22 * row });
      x += width;
    }
    return row + 1;
  }

  drawLegend(items) {
    const group = svg("g", { class: "legend" });
    for (const { name, kind, x, y } of items) {
      group.append(kind === "band" ? svg("rect", { class: kind, x, y: y - 5, width: 22, height: 10 }) : svg("line", { class: kind, x1: x, x2: x + 22, y1: y, y2: y }));
      group.append(svg("text", { x: x + 28, y: y + 4 }, name));
    }
    return group;
  }

  valueRange() {
    const { history, data: { forecast, changed } } = this;
    const values = [...history.map((point) => point.y), ...[...forecast, ...(changed || [])].flatMap((point) => [point.median, ...point.values])].filter(Number.isFinite);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (!values.length) [low, high] = [0, 1];
    if (low > 0 && low < 0.4 * high) low = 0;
    const room = 0.06 * (high - low || Math.abs(high) || 1);
    return [low === 0 ? 0 : low - room, high + room];
  }

  drawAxes(ticks, left) {
    return ticks.map((tick) => {
      const y = this.y(tick);
      return svg("g", {}, svg("line", { class: "grid", x1: left, x2: this.width - RIGHT, y1: y, y2: y }), svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, number(tick)));
    });
  }

  drawTimes(ticks, left) {
    const y = this.bottom;
    const parts = [svg("line", { class: "axis", x1: left, x2: this.width - RIGHT, y1: y, y2: y })];
    for (const { at, text, below } of ticks) {
      const x = this.x(at - this.data.shift);
      parts.push(svg("line", { class: "axis", x1: x, x2: x, y1: y, y2: y + 4 }), svg("text", { x, y: y + 18, "text-anchor": "middle" }, text));
      if (below) parts.push(svg("text", { x, y: y + 33, "text-anchor": "middle" }, below));
    }
    return parts;
  }

  drawLine(points, value, kind) {
    let [path, open] = ["", false];
    const shown = points.filter((point) => Number.isFinite(value(point)));
    for (const point of points) {
      const y = value(point);
      if (Number.isFinite(y)) path += `${open ? "L" : "M"}${this.x(point.t).toFixed(1)} ${this.y(y).toFixed(1)}`;
      open = Number.isFinite(y);
    }
    const group = svg("g", {}, svg("path", { class: kind, d: path || "M0 0" }));
    if (shown.length < 3) shown.forEach((point) => group.append(svg("circle", { class: `dot ${kind}`, cx: this.x(point.t), cy: this.y(value(point)), r: 3 })));
    return group;
  }

  drawBand(points, { low, high }, kind) {
    const at = (point, level) => `${this.x(point.t).toFixed(1)} ${this.y(point.values[level]).toFixed(1)}`;
    if (points.length === 1) {
      const [x, top, bottom] = [this.x(points[0].t) - 4, this.y(points[0].values[high]), this.y(points[0].values[low])];
      return svg("rect", { class: kind, x, y: top, width: 8, height: Math.max(bottom - top, 1) });
    }
    const outline = [...points.map((point) => at(point, high)), ...[...points].reverse().map((point) => at(point, low))];
    return svg("path", { class: kind, d: `M${outline.join("L")}Z` });
  }

  drawLane({ name, points, changed }, left, top) {
    const categories = [...new Set([...points, ...(changed || [])].map((point) => point.v))];
    const scale = categories.every((value) => value === null || Number.isFinite(value)) ? (value) => value : (value) => categories.indexOf(value);
    const values = categories.filter((value) => value !== null).map(scale);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const y = (value) => top + LANE - 6 - (high > low ? (scale(value) - low) / (high - low) : 0) * (LANE - 26);
    const path = (line) => line.filter((point) => point.v !== null).map((point, i) => `${i ? `H${this.x(point.t).toFixed(1)}V` : `M${this.x(point.t).toFixed(1)} `}${y(point.v).toFixed(1)}`).join("");
    const parts = [svg("line", { class: "grid", x1: left, x2: this.width - RIGHT, y1: top, y2: top }), svg("text", { class: "lane-name", x: left, y: top + 13 }, name)];
    parts.push(svg("path", { class: "lane", d: path(points.filter((point) => point.t >= this.points()[0].t)) || "M0 0" }));
    if (changed) parts.push(svg("path", { class: "lane changed", d: path(changed) || "M0 0" }));
    return parts;
  }

  listen(root) {
    const find = (event) => {
      const at = ((event.clientX - root.getBoundingClientRect().left) / root.getBoundingClientRect().width) * this.width;
      const distances = this.points().map((point) => Math.abs(this.x(point.t) - at));
      this.read(distances.indexOf(Math.min(...distances)));
    };
    root.addEventListener("pointermove", find);
    root.addEventListener("pointerdown", find);
    root.addEventListener("pointerleave", () => document.activeElement !== root && this.read(-1));
    root.addEventListener("keydown", (event) => {
      const last = this.points().length - 1;
      const start = this.at < 0 ? this.history.length : this.at;
      const to = { ArrowLeft: start - 1, ArrowRight: this.at < 0 ? start : start + 1, Home: 0, End: last, Escape: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.read(Math.min(Math.max(to, event.key === "Escape" ? -1 : 0), last));
    });
  }

  points() {
    return [...this.history, ...this.data.forecast];
  }

  /** Show the values at a point in words, and a line there; -1 for none. */
  read(at) {
    this.at = at;
    const point = this.points()[at];
    this.crosshair.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) return this.reading.replaceChildren("Point at the chart, or focus it and press the arrow keys, to read its values.");
    const x = this.x(point.t);
    this.crosshair.setAttribute("x1", x);
    this.crosshair.setAttribute("x2", x);
    const { history, data: { isTime, shift, lanes } } = this;
    const step = history.length > 1 ? history[1].t - history[0].t : 0;
    const words = [h("b", { text: timeText(point.t + shift, isTime, step) })];
    if (at < history.length) words.push(`actual ${number(point.y)}`);
    else {
      const band = this.bands()[0];
      words.push(`median ${number(point.median)}` + (band ? `, ${band.name} ${number(point.values[band.low])} to ${number(point.values[band.high])}` : ""));
      const changed = this.data.changed?.[at - history.length];
      if (changed) words.push(`what if ${number(changed.median)}`);
    }
    for (const lane of lanes) {
      const known = (lane.changed || []).find((each) => each.t === point.t) || lane.points.find((each) => each.t === point.t);
      if (known && known.v !== null) words.push(`${lane.name} ${number(known.v)}`);
    }
    this.reading.replaceChildren(...words.flatMap((word, i) => (i ? [" · ", word] : [word])));
  }

  /** Return the picture as the text of an SVG file that needs no style sheet. */
  export() {
    const copy = this.svg.cloneNode(true);
    const kept = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font-size", "font-family", "font-weight"];
    const originals = this.svg.querySelectorAll("*");
    copy.querySelectorAll("*").forEach((element, i) => {
      const style = getComputedStyle(originals[i]);
      kept.forEach((name) => element.setAttribute(name, style.getPropertyValue(name)));
      element.removeAttribute("class");
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    ["tabindex", "class", "aria-describedby"].forEach((name) => copy.removeAttribute(name));
    copy.prepend(svg("title", {}, this.data.label), svg("rect", { width: "100%", height: "100%", fill: getComputedStyle(document.body).backgroundColor }));
    return new XMLSerializer().serializeToString(copy);
  }
}
