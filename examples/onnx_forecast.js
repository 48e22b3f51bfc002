// Forecast with a file of `fusecast export RUN --onnx model.onnx` and onnxruntime-web alone, in node or in a browser:
//     npm install onnxruntime-web && node examples/onnx_forecast.js model.onnx history.csv [plan.csv] > forecasts.csv
// A row of history.csv is a step of a series, without gaps; plan.csv has the known columns of the steps to forecast.
const fs = require("fs");
const ort = require("onnxruntime-web");

function readCsv(path) { // without quoted cells
  const [head, ...lines] = fs.readFileSync(path, "utf8").trim().split(/\r?\n/).map((line) => line.split(","));
  return lines.map((cells) => Object.fromEntries(head.map((name, i) => [name, cells[i]])));
}

function* fields(bytes) { // of a message of protobuf: its number, and its bytes where it has any
  let at = 0;
  const varint = () => { let n = 0, k = 1, b; do { b = bytes[at++]; n += (b & 127) * k; k *= 128; } while (b & 128); return n; };
  while (at < bytes.length) {
    const tag = varint(), kind = tag & 7;
    const size = kind === 0 ? (varint(), 0) : kind === 1 ? 8 : kind === 5 ? 4 : varint();
    yield [tag >>> 3, bytes.subarray(at, (at += size))];
  }
}

function readMetadata(model) { // which onnxruntime-web does not show: field 14 of the file, pairs of key and value
  for (const [number, pair] of fields(model)) {
    if (number !== 14) continue;
    const [key, value] = [...fields(pair)].map(([, bytes]) => new TextDecoder().decode(bytes));
    if (key === "fusecast") return JSON.parse(value);
  }
  throw new Error("this file was not exported by fusecast");
}

const seconds = (text) => Date.parse(text.replace(" ", "T").replace(/\.\d+$/, "") + (text.length > 10 ? "Z" : "")) / 1000;

async function main(modelPath, historyPath, planPath) {
  const model = fs.readFileSync(modelPath), about = readMetadata(model);
  const session = await ort.InferenceSession.create(model);
  const { lookback: L, horizon: H, time } = about, id = about.id.join(",");
  const group = (rows) => rows.reduce((m, row) => m.set(row[id] ?? "", [...(m.get(row[id] ?? "") ?? []), row]), new Map());
  const past = group(readCsv(historyPath)), future = group(planPath ? readCsv(planPath) : []), names = [...past.keys()];
  const steps = names.map((name) => {
    const before = past.get(name).slice(-L);
    return [...Array(L - before.length).fill(null), ...before, ...(future.get(name) ?? Array(H).fill(null))];
  });
  const value = (row, column, kind) => {
    const text = row?.[column] ?? "";
    return kind === "float64" ? (text === "" ? NaN : Number(text)) : about.vocabularies[column].indexOf(text) + 1;
  };
  const feeds = {};
  for (const { name, type, columns } of about.inputs) {
    let values; // in rows of series, steps and columns
    if (name === "series") values = names.map((series) => about.series.indexOf(series) + 1);
    else if (name === "time") values = names.map((series, s) => {
      const [a, b] = past.get(series).slice(-2).map((row) => seconds(row[time]));
      return steps[s].map((row, t) => (t >= L || row ? b + (b - a) * (t - L + 1) : NaN));
    });
    else {
      const [first, end] = { past: [0, L], future: [L, L + H], static: [L - 1, L] }[name.split("_")[0]];
      values = steps.map((rows) => rows.slice(first, end).map((row) => columns.map((c) => value(row, c, type))));
    }
    const shape = about.inputs.find((input) => input.name === name).shape.map((n) => (n === "batch" ? names.length : n));
    feeds[name] = new ort.Tensor(type, (type === "int32" ? Int32Array : Float64Array).from(values.flat(3)), shape);
  }
  const { forecast } = await session.run(feeds, ["forecast"]); // [series, steps, targets, levels]
  const Q = about.levels.length, Y = about.targets.length;
  console.log([id || "series", "step", "target", ...about.levels.map((level) => `q${level}`)].join(","));
  for (let at = 0; at < forecast.data.length / Q; at++) {
    const row = [names[Math.floor(at / Y / H)], (Math.floor(at / Y) % H) + 1, about.targets[at % Y]];
    console.log([...row, ...forecast.data.slice(at * Q, (at + 1) * Q)].join(","));
  }
}

main(...process.argv.slice(2));
