// Forecast with a file of `fusecast export RUN --onnx model.onnx` and onnxruntime-web alone, in node or in a browser:
//     npm install onnxruntime-web && node examples/onnx_forecast.js model.onnx history.csv [plan.csv] > forecasts.csv
// A row of history.csv is a step of a series, in order, without gaps. plan.csv has the times and known columns of the
// steps to forecast; a model without calendar features and known columns needs none. Cells are not quoted.
const fs = require("fs");
const ort = require("onnxruntime-web");

function readRows(path, ids) { // of each series
  const [head, ...lines] = fs.readFileSync(path, "utf8").trim().split(/\r?\n/).map((line) => line.split(",")), series = new Map();
  for (const cells of lines) {
    const row = Object.fromEntries(head.map((name, i) => [name, cells[i]])), key = ids.map((id) => row[id] ?? "").join(",");
    series.set(key, series.get(key) ?? []).get(key).push(row);
  }
  return series;
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
  const pairs = [...fields(model)].filter(([number]) => number === 14).map(([, pair]) => [...fields(pair)]);
  return JSON.parse(Object.fromEntries(pairs.map((pair) => pair.map(([, text]) => new TextDecoder().decode(text)))).fusecast);
}
const seconds = (text) => Date.parse(text.length > 10 ? text.replace(" ", "T").replace(/(Z|[+-]\d\d:?\d\d)$/, "") + "Z" : text) / 1000;

async function main(modelPath, historyPath, planPath) {
  const model = fs.readFileSync(modelPath), about = readMetadata(model);
  const { lookback: L, horizon: H, id: ids, time, inputs } = about, [Q, Y] = [about.levels.length, about.targets.length];
  const past = readRows(historyPath, ids), future = planPath ? readRows(planPath, ids) : new Map(), keys = [...past.keys()];
  const N = Math.max(L, ...keys.map((key) => past.get(key).length)), sizes = { batch: keys.length, rows: N };
  const steps = keys.map((key) => [...Array(N - past.get(key).length).fill(null), ...past.get(key), ...(future.get(key) ?? []).slice(0, H)]);
  if (inputs.some(({ name }) => /^(time|future)/.test(name)) && steps.some((rows) => rows.length < N + H))
    throw new Error(`the plan needs the ${H} steps after the last one of each series`);
  const value = (row, column, type) => {
    const text = row?.[column] ?? "";
    if (type === "int32") return about.vocabularies[column].indexOf(text) + 1;
    return text === "" ? NaN : column === time ? seconds(text) : Number(text);
  };
  const parts = { history: [0, N], time: [N - L, N + H], past: [N - L, N], future: [N, N + H], static: [N - 1, N] }, feeds = {};
  for (const { name, type, shape, columns = [time] } of inputs) {
    const values = name === "series" ? keys.map((key) => about.series.indexOf(key) + 1) : steps.map((rows) =>
      rows.slice(...parts[name.split("_")[0]]).map((row) => columns.map((column) => value(row, column, type))));
    const numbers = (type === "int32" ? Int32Array : Float64Array).from(values.flat(2));
    feeds[name] = new ort.Tensor(type, numbers, shape.map((size) => sizes[size] ?? size));
  }
  const { data } = (await (await ort.InferenceSession.create(model)).run(feeds, ["forecast"])).forecast; // [series, steps, targets, levels]
  console.log([...ids, "step", "target", ...about.levels.map((level) => `q${level}`)].join(","));
  for (let at = 0; at < data.length / Q; at++)
    console.log([keys[Math.floor(at / Y / H)], (Math.floor(at / Y) % H) + 1, about.targets[at % Y],
      ...data.slice(at * Q, (at + 1) * Q)].join(","));
}

main(...process.argv.slice(2));
