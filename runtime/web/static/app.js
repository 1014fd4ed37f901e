"use strict";

const COLORS = { present: "#3ddc84", uncertain: "#ffbe28", lost: "#ff5c5c", reacquired: "#38bdf8" };
const HISTORY = 240;
const CLICK_PX = 6;
const $ = (id) => document.getElementById(id);

const client = sessionStorage.client || (sessionStorage.client = "page-" + Math.random().toString(36).slice(2, 12));
const history = { score: [], latency: [] };
let state = null;
let bitmap = null;
let chosen = null;
let isAdding = false;
let drag = null;
let retryMs = 250;

// --- the stream: a message is a 4-byte length, JSON, JPEG; answering it asks for the next one -----------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/api/stream?client=${encodeURIComponent(client)}`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { retryMs = 250; };
  socket.onmessage = async (event) => {
    const length = new DataView(event.data).getUint32(0);
    const next = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, length)));
    const jpeg = new Blob([new Uint8Array(event.data, 4 + length)], { type: "image/jpeg" });
    try {
      const decoded = await createImageBitmap(jpeg);
      if (bitmap) bitmap.close();
      bitmap = decoded;
    } catch { /* a damaged picture: keep the last one */ }
    if (!document.hidden) await new Promise(requestAnimationFrame);
    show(next);
    if (socket.readyState === WebSocket.OPEN) socket.send("next");
  };
  socket.onclose = () => {
    pill("no connection", "bad");
    setTimeout(connect, retryMs);
    retryMs = Math.min(4000, retryMs * 2);
  };
}

async function post(verb, body = {}) {
  const answer = await fetch(`/api/${verb}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Client": client },
    body: JSON.stringify(body),
  }).catch(() => null);
  if (!answer) { say("The device does not answer."); return null; }
  const result = await answer.json().catch(() => ({}));
  if (!answer.ok) say(result.hint && answer.status !== 423 ? `${result.error} (${result.hint})` : result.error);
  return answer.ok ? result : null;
}

// --- showing ---------------------------------------------------------------------------------------------------

function show(next) {
  const isNewFrame = !state || state.frame !== next.frame || state.source !== next.source;
  state = next;
  if (!state.targets.some((target) => target.id === chosen)) chosen = state.targets.length ? state.targets[0].id : null;
  if (isNewFrame) remember();
  document.body.dataset.frame = state.frame;
  drawPicture();
  showFigures();
  showTargets();
  showChoices();
  showEvents();
  plot($("score-plot"), history.score, 1, COLORS.present);
  plot($("latency-plot"), history.latency, Math.max(5, ...history.latency) * 1.1, COLORS.reacquired);
}

function remember() {
  const target = state.targets.find((one) => one.id === chosen);
  push(history.score, target ? Math.max(0, Math.min(1, target.score)) : null);
  push(history.latency, target ? state.frame_latency_ms : null);
  $("score-now").textContent = target ? target.score.toFixed(2) : "";
  const spread = state.latency_ms;
  $("latency-spread").textContent = spread ? `p50 ${spread[0].toFixed(1)} · p99 ${spread[2].toFixed(1)} ms` : "";
}

function push(list, value) {
  list.push(value);
  if (list.length > HISTORY) list.shift();
}

function pill(text, kind) {
  $("source-pill").textContent = text;
  $("source-pill").className = `pill ${kind}`;
}

function showFigures() {
  const live = state.source_state;
  if (state.mode === "failed") pill("source failed", "bad");
  else if (state.mode === "ended") pill("ended", "warn");
  else if (state.mode === "paused") pill("paused", "warn");
  else if (live === "live" || live === "file") pill(live === "file" ? "playing" : "live", "good");
  else pill(live, "bad");
  $("fps").textContent = state.fps.toFixed(0);
  $("latency").textContent = state.latency_ms ? state.latency_ms[0].toFixed(1) : "–";
  $("dropped").textContent = state.dropped;
  $("heat").hidden = state.temperature_c === null;
  if (state.temperature_c !== null) $("temperature").textContent = state.temperature_c.toFixed(0);
  $("pause").textContent = state.mode === "paused" ? "Resume" : "Pause";
  $("pause").disabled = !["running", "paused"].includes(state.mode);
  $("step").disabled = state.mode !== "paused";
  $("record").classList.toggle("on", Boolean(state.recording));
  $("record").lastElementChild.textContent = state.recording ? `Stop ${state.recorded}` : "Record";
  $("badge").hidden = !state.recording && state.mode !== "paused";
  $("badge").textContent = state.mode === "paused" ? "paused" : "● recording";
  $("badge").style.color = state.mode === "paused" ? COLORS.uncertain : COLORS.lost;
  $("hint").hidden = state.targets.length > 0 && !isAdding;
  showNotice();
}

function showNotice() {
  if (state.mode === "failed") { $("notice-text").textContent = state.failure; $("take-control").hidden = true; }
  else if (state.recording_problem) { $("notice-text").textContent = `The recording ended: ${state.recording_problem}`; $("take-control").hidden = true; }
  else if (!state.is_controller) { $("notice-text").textContent = "Another page is in control; you are watching."; $("take-control").hidden = false; }
  else if (Date.now() > saidUntil) { $("notice").hidden = true; return; }
  $("notice").hidden = false;
}

let saidUntil = 0;
function say(text) {
  saidUntil = Date.now() + 5000;
  $("notice-text").textContent = text;
  $("take-control").hidden = true;
  $("notice").hidden = false;
}

function showTargets() {
  $("no-targets").hidden = state.targets.length > 0;
  $("add").disabled = !state.targets.length;
  $("add").textContent = isAdding ? "Cancel" : "Add";
  const list = $("targets");
  while (list.children.length > state.targets.length) list.lastChild.remove();
  state.targets.forEach((target, place) => {
    const row = list.children[place] || list.appendChild(targetRow());
    row.dataset.id = target.id;
    row.classList.toggle("chosen", target.id === chosen);
    row.children[0].textContent = target.id;
    row.children[1].className = `bar ${target.state}`;
    row.children[1].firstChild.style.width = `${Math.round(100 * Math.max(0, Math.min(1, target.probability)))}%`;
    row.children[2].textContent = target.state;
    row.children[2].className = target.state;
  });
}

function targetRow() {
  const row = document.createElement("li");
  const bar = document.createElement("span");
  const remove = document.createElement("button");
  bar.append(document.createElement("i"));
  remove.textContent = "×";
  remove.setAttribute("aria-label", "Remove this target");
  remove.onclick = (event) => { event.stopPropagation(); post("remove", { id: Number(row.dataset.id) }); };
  row.onclick = () => { chosen = Number(row.dataset.id); history.score.length = history.latency.length = 0; };
  row.append(document.createElement("b"), bar, document.createElement("span"), remove);
  return row;
}

function showChoices() {
  fill($("source"), state.sources, state.source);
  fill($("model"), state.models, state.model);
  $("why").textContent = state.why;
}

function fill(select, values, value) {
  if (select.dataset.values !== values.join("\n")) {
    select.replaceChildren(...values.map((text) => new Option(text, text)));
    select.dataset.values = values.join("\n");
  }
  if (document.activeElement !== select) select.value = value;
}

function showEvents() {
  $("no-events").hidden = state.events.length > 0;
  const rows = state.events.slice().reverse().map((event) => {
    const row = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = `${event.time_s.toFixed(1)} s`;
    row.append(time, `${event.event}: ${event.detail}`);
    return row;
  });
  $("events").replaceChildren(...rows);
}

// --- the picture, and the place of its pixels on the screen --------------------------------------------------------

function fitted() {
  const canvas = $("picture");
  const [width, height] = state.size;
  const scale = Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
  return { scale, left: (canvas.clientWidth - width * scale) / 2, top: (canvas.clientHeight - height * scale) / 2 };
}

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  return pen;
}

function drawPicture() {
  if (!bitmap || !state || !state.size) return;
  const pen = prepare($("picture"));
  const { scale, left, top } = fitted();
  pen.drawImage(bitmap, left, top, state.size[0] * scale, state.size[1] * scale);
  for (const target of state.targets) {
    const [x, y, w, h] = target.box;
    const color = COLORS[target.state];
    outline(pen, left + x * scale, top + y * scale, w * scale, h * scale, color, target.state === "lost");
    label(pen, left + x * scale, top + y * scale, `${target.id}  ${target.state}  ${target.score.toFixed(2)}`, color);
  }
  if (drag && drag.to) {
    const [x, y, w, h] = between(drag.from, drag.to);
    outline(pen, x, y, w, h, "#ffffff", false);
  }
}

function outline(pen, x, y, w, h, color, isDashed) {
  pen.setLineDash(isDashed ? [8, 6] : []);
  for (const [width, style] of [[4.5, "#000a"], [2, color]]) {
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.strokeRect(x, y, w, h);
  }
  pen.setLineDash([]);
}

function label(pen, x, y, text, color) {
  pen.font = "600 12.5px system-ui, DejaVu Sans, sans-serif";
  const width = pen.measureText(text).width + 12;
  const left = Math.max(2, Math.min(x, $("picture").clientWidth - width - 2));
  const top = y > 26 ? y - 23 : y + 4;
  pen.fillStyle = color;
  pen.beginPath();
  pen.roundRect(left, top, width, 19, 4);
  pen.fill();
  pen.fillStyle = "#0b0f14";
  pen.fillText(text, left + 6, top + 14);
}

function plot(canvas, values, most, color) {
  const pen = prepare(canvas);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  pen.strokeStyle = "#232c38";
  pen.lineWidth = 1;
  pen.beginPath();
  for (const share of [0.25, 0.5, 0.75]) { pen.moveTo(0, height * share); pen.lineTo(width, height * share); }
  pen.stroke();
  pen.strokeStyle = color;
  pen.lineJoin = "round";
  pen.lineWidth = 1.6;
  pen.beginPath();
  let isDown = false;
  values.forEach((value, place) => {
    if (value === null) { isDown = false; return; }
    const x = width * (1 - (values.length - 1 - place) / (HISTORY - 1));
    const y = height - 4 - (height - 8) * Math.min(1, value / most);
    if (isDown) pen.lineTo(x, y); else pen.moveTo(x, y);
    isDown = true;
  });
  pen.stroke();
}

// --- choosing targets ----------------------------------------------------------------------------------------------

function between(a, b) {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.abs(a.x - b.x), Math.abs(a.y - b.y)];
}

function pointOf(event) {
  const frame = $("picture").getBoundingClientRect();
  return { x: event.clientX - frame.left, y: event.clientY - frame.top };
}

function inImage([x, y, w, h]) {
  const { scale, left, top } = fitted();
  return [(x - left) / scale, (y - top) / scale, w / scale, h / scale];
}

function follow(box) {
  const body = { box };
  if (!isAdding && chosen !== null) body.id = chosen;
  isAdding = false;
  post("target", body).then((result) => { if (result) chosen = result.id; });
}

const picture = $("picture");
picture.addEventListener("pointerdown", (event) => {
  if (!state || !state.size || event.button > 0) return;
  picture.setPointerCapture(event.pointerId);
  drag = { from: pointOf(event), to: null };
});
picture.addEventListener("pointermove", (event) => {
  if (!drag) return;
  drag.to = pointOf(event);
  drawPicture();
});
picture.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const box = between(drag.from, pointOf(event));
  drag = null;
  if (Math.min(box[2], box[3]) > CLICK_PX) { follow(inImage(box)); return; }
  if (Math.max(box[2], box[3]) > CLICK_PX) return;
  const target = state.targets.find((one) => one.id === chosen);
  if (!target) { say("Drag a box around the target; a click moves a box that is there."); return; }
  const [x, y] = inImage(box);
  follow([x - target.box[2] / 2, y - target.box[3] / 2, target.box[2], target.box[3]]);
});
picture.addEventListener("pointercancel", () => { drag = null; });

// --- buttons and keys ----------------------------------------------------------------------------------------------

const toggle = () => post(state.mode === "paused" ? "resume" : "pause");
const record = () => post("record", { on: !state.recording });
$("pause").onclick = toggle;
$("step").onclick = () => post("step");
$("reset").onclick = () => post("reset");
$("record").onclick = record;
$("add").onclick = () => { isAdding = !isAdding; };
$("take-control").onclick = () => post("control");
$("source").onchange = (event) => { post("source", { address: event.target.value }); event.target.blur(); };
$("model").onchange = (event) => { post("model", { name: event.target.value }); event.target.blur(); };
$("snapshot").onclick = async () => {
  const answer = await fetch("/api/snapshot.jpg");
  if (!answer.ok) { say("There is no picture yet."); return; }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `siamedge-${state.frame}.jpg`;
  link.click();
  URL.revokeObjectURL(link.href);
};
addEventListener("keydown", (event) => {
  if (["SELECT", "BUTTON", "INPUT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || !state) return;
  if (event.key === " ") { event.preventDefault(); toggle(); }
  else if (event.key === "s" && state.mode === "paused") post("step");
  else if (event.key === "r") record();
  else if (event.key === "Escape") { drag = null; isAdding = false; drawPicture(); }
});
addEventListener("resize", drawPicture);
connect();
