/** Everything beside the picture: figures, targets, source and model, events. */

import { $, changed, chosenTarget, isLinked, maySteer, page } from "./page.js";
import { condition } from "./words.js";

export function showFigures() {
  const { state } = page;
  const { text, kind } = condition(page);
  const isRunning = isLinked() && kind === "good";
  setText($("source-pill"), text);
  $("source-pill").className = `pill ${kind}`;
  $("fps").textContent = isRunning ? state.fps.toFixed(0) : "–";
  $("latency").textContent = isRunning && state.latency_ms ? state.latency_ms[0].toFixed(1) : "–";
  $("dropped").textContent = state?.dropped ?? 0;
  $("heat").hidden = !state || state.temperature_c === null;
  if (!$("heat").hidden) $("temperature").textContent = state.temperature_c.toFixed(0);
  showBadge(text, kind);
}

/** What a person who looks at the picture alone must know. */
function showBadge(text, kind) {
  const isRecording = kind === "good" && page.state.recording !== null;
  $("badge").hidden = kind === "good" && !isRecording;
  setText($("badge"), isRecording ? "● recording" : text);
  $("badge").className = isRecording ? "recording" : kind;
  $("stage").classList.toggle("old", page.state !== null && page.link !== "open");
}

/** Set a text only if it is another one, so that it is neither read out again nor loses its selection. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Show the targets.
 *
 * @param remove Called with the number of one that shall go.
 */
export function showTargets(remove) {
  const targets = page.state?.targets ?? [];
  const list = $("targets");
  $("no-targets").hidden = targets.length > 0;
  $("add").disabled = !targets.length || !maySteer();
  $("add").textContent = page.isAdding ? "Cancel" : "Add";
  while (list.children.length > targets.length) list.lastChild.remove();
  while (list.children.length < targets.length) list.append(targetRow(remove));
  targets.forEach((target, place) => fillRow(list.children[place], target));
}

function targetRow(remove) {
  const row = document.createElement("li");
  const parts = ["choose", "remove"].map((name) => Object.assign(document.createElement("button"), { type: "button", className: name }));
  const [number, bar, word] = ["b", "span", "span"].map((name) => document.createElement(name));
  bar.append(document.createElement("i"));
  parts[0].append(number, bar, word);
  parts[0].onclick = () => { page.chosen = Number(row.dataset.id); changed(); };
  parts[1].textContent = "×";
  parts[1].onclick = () => remove(Number(row.dataset.id));
  row.append(...parts);
  return row;
}

function fillRow(row, target) {
  const [choose, remove] = row.children;
  const [number, bar, word] = choose.children;
  row.dataset.id = target.id;
  choose.setAttribute("aria-pressed", target.id === chosenTarget().id);
  setText(number, String(target.id));
  bar.className = `bar ${target.state}`;
  bar.firstChild.style.width = `${Math.round(100 * Math.max(0, Math.min(1, target.probability)))}%`;
  setText(word, target.state);
  word.className = target.state;
  remove.setAttribute("aria-label", `Remove target ${target.id}`);
  remove.disabled = !maySteer();
}

export function showChoices() {
  if (!page.state) return;
  fill($("source"), page.state.sources, page.state.source);
  fill($("model"), page.state.models, page.state.model);
  setText($("why"), page.state.why);
}

/** Show a choice; one that the user is looking through changes only when the device's does. */
function fill(select, values, value) {
  select.disabled = !maySteer();
  const shown = JSON.stringify([values, value]);
  if (select.dataset.shown === shown) return;
  select.dataset.shown = shown;
  select.replaceChildren(...values.map((text) => new Option(text, text)));
  select.value = value;
}

/** Show what the device uses after it has answered a choice, which it may have refused. */
export function resetChoices() {
  for (const select of [$("source"), $("model")]) delete select.dataset.shown;
}

export function showEvents() {
  const events = page.state?.events ?? [];
  const shown = JSON.stringify(events);
  if ($("events").dataset.shown === shown) return;
  $("events").dataset.shown = shown;
  $("no-events").hidden = events.length > 0;
  $("events").replaceChildren(...events.map(eventRow).reverse());
}

function eventRow(event) {
  const row = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = `${event.time_s.toFixed(1)} s`;
  row.append(time, `${event.event}: ${event.detail}`);
  return row;
}
