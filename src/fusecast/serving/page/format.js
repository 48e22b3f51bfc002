// Numbers, times and durations as text, and times as numbers.

const DAY = 86_400_000;
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const small = new Intl.NumberFormat("en", { notation: "scientific", maximumSignificantDigits: 3 });

/** Return a number with about four digits. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return small.format(value);
  return size >= 1000 ? whole.format(value) : significant.format(value);
}

export const count = (value) => whole.format(value);
export const percent = (value) => `${whole.format(100 * value)}%`;
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 || noun === "series" ? "" : "s"}`;

/** Return the size of a file in words. */
export function bytes(value) {
  if (value < 1000) return `${value} bytes`;
  return value < 1e6 ? `${significant.format(value / 1e3)} kB` : `${significant.format(value / 1e6)} MB`;
}

/** Return seconds in words. */
export function duration(seconds) {
  const rounded = Math.round(seconds);
  if (rounded < 60) return `${rounded} s`;
  const [minutes, rest] = [Math.floor(rounded / 60), rounded % 60];
  return minutes < 60 ? `${minutes} min${rest ? ` ${rest} s` : ""}` : `${significant.format(minutes / 60)} h`;
}

/** Return a time of a table as text without what says nothing: seconds of 0 and their fractions. */
export function plainTime(time) {
  return String(time ?? "").replace("T", " ").replace(/(\d\d:\d\d:\d\d)\.0+/, "$1").replace(/(\d\d:\d\d):00(?=$|[+-])/, "$1");
}

/** Return a time of a table as a number to draw it at: milliseconds, or the number that it is. */
export function position(time) {
  if (typeof time === "number") return time;
  const text = String(time).trim().replace(" ", "T");
  const zoned = /[zZ]$|[+-]\d\d:?\d\d$/.test(text.slice(10));
  const value = Date.parse(text.length <= 10 ? text : zoned ? text.replace(/([+-]\d\d)(\d\d)$/, "$1:$2") : `${text}Z`);
  return Number.isNaN(value) ? Number(time) : value;
}

/** Return how a zone differs from UTC at a time of a table, in milliseconds; 0 for a time without a zone. */
export function zoneShift(time) {
  const match = /([+-])(\d\d):?(\d\d)$/.exec(String(time).slice(10));
  return match ? (match[1] === "-" ? -1 : 1) * (60 * Number(match[2]) + Number(match[3])) * 60_000 : 0;
}

const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const clock = part({ hour: "2-digit", minute: "2-digit" });
const day = part({ day: "numeric", month: "short" });
const fullDay = part({ weekday: "short", day: "numeric", month: "short", year: "numeric" });
const month = part({ month: "short" });
const year = part({ year: "numeric" });

/** Return a position as the reader of a chart sees it. */
export function timeText(value, isTime, step) {
  if (!isTime) return count(value);
  return step < DAY ? `${fullDay.format(value)}, ${clock.format(value)}` : fullDay.format(value);
}

/** Return ticks of a time axis between two positions: `{at, text, below}`, the second line where it changes. */
export function timeTicks(from, to, isTime, most) {
  if (!isTime) return niceTicks(from, to, most, true).map((at) => ({ at, text: count(at), below: "" }));
  const steps = [60_000, 300_000, 900_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000];
  const span = to - from;
  const step = steps.find((each) => span / each <= most);
  if (step) {
    let last = "";
    return range(Math.ceil(from / step) * step, to, step).map((at) => {
      const below = day.format(at) === last ? "" : (last = day.format(at));
      return { at, text: clock.format(at), below };
    });
  }
  const days = [1, 2, 7, 14].find((each) => span / (each * DAY) <= most);
  if (days) {
    let last = "";
    const monday = 4 * DAY; // 5 January 1970
    const first = monday + Math.ceil((from - monday) / (days * DAY)) * days * DAY;
    return range(first, to, days * DAY).map((at) => {
      const below = year.format(at) === last ? "" : (last = year.format(at));
      return { at, text: day.format(at), below };
    });
  }
  const months = [1, 3, 6, 12, 24, 60, 120, 240, 600].find((each) => span / (each * 30.4 * DAY) <= most) || 1200;
  const start = new Date(from);
  const firstMonth = Math.ceil((12 * start.getUTCFullYear() + start.getUTCMonth()) / months) * months;
  const ticks = [];
  let last = "";
  for (let number_ = firstMonth; ; number_ += months) {
    const at = Date.UTC(Math.floor(number_ / 12), number_ % 12);
    if (at > to) return ticks;
    if (at < from) continue;
    const below = months >= 12 || year.format(at) === last ? "" : (last = year.format(at));
    ticks.push({ at, text: months >= 12 ? year.format(at) : month.format(at), below });
  }
}

/** Return round numbers between two values. */
export function niceTicks(low, high, most, wholeNumbers = false) {
  const raw = Math.max((high - low) / Math.max(most, 1), Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw * 0.999);
  if (wholeNumbers) step = Math.max(1, Math.round(step));
  return range(Math.ceil(low / step - 1e-9) * step, high, step).map((value) => Number(value.toPrecision(12)));
}

function range(from, to, step) {
  const values = [];
  for (let i = 0; from + i * step <= to + 1e-9 * step && i < 1000; i += 1) values.push(from + i * step);
  return values;
}
