// Requests to the server: errors in its own words, the key where it asks for one, a second try where it is busy.

import { byId } from "./dom.js";

const KEY = "fusecast-key";
const MOST_WAITING_SECONDS = 5;

/** An answer other than success; `message` and `hint` are the words of the server. */
export class ApiError extends Error {
  constructor(status, error) {
    super(error.message || `the server answered with status ${status}`);
    Object.assign(this, { status, code: error.code, hint: error.hint, field: error.field, series: error.series, row: error.row });
  }
}

/** Request a path; return the Response of a success, and throw an ApiError for all else. */
export async function request(path, options = {}) {
  for (let tries = 0; ; tries += 1) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, { message: "the server cannot be reached", hint: "see whether it still runs, and try again" });
    }
    if (response.ok) return response;
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    if (response.status === 429 && tries < 3 && seconds <= MOST_WAITING_SECONDS) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    } else if (response.status !== 401 || !(await askForKey(Boolean(key)))) {
      const body = await response.json().catch(() => ({}));
      throw new ApiError(response.status, body.error || {});
    }
  }
}

/** Request a path and return its JSON. */
export async function requestJson(path, options = {}) {
  return (await request(path, options)).json();
}

/** Return the options of a POST of values as JSON. */
export function asJson(values, signal) {
  return { method: "POST", body: JSON.stringify(values), headers: { "Content-Type": "application/json" }, signal };
}

/** Return the options of a POST of files and fields; what is null is left out. */
export function asForm(fields, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof File) body.append(name, value, value.name);
    else if (value !== null && value !== undefined) body.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  return { method: "POST", body, signal };
}

let asking = null;

/** Ask for the key of the server; return whether one was given. Requests that need it at once share one question. */
function askForKey(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    const input = byId("key");
    byId("key-text").textContent = refused ? "The last key was refused." : "It is kept until this tab is closed.";
    input.value = "";
    dialog.returnValue = "";
    byId("key-cancel").onclick = () => dialog.close("");
    dialog.onclose = () => {
      asking = null;
      if (dialog.returnValue === "ok") sessionStorage.setItem(KEY, input.value);
      resolve(dialog.returnValue === "ok");
    };
    dialog.showModal();
    input.focus();
  });
  return asking;
}
