/** Score and latency of the last frames of the chosen target. */

import { $, chosenTarget, page } from "./page.js";
import { cleared, COLORS } from "./picture.js";

const LENGTH = 240;
const LEAST_LATENCY_MS = 5;
const rows = { score: [], latency: [] };
let plotted = { id: null, frame: null, source: null };

/** Take the newest state into the plots, if it is of a new frame; another target begins them anew. */
export function remember() {
  const { frame, source, frame_latency_ms: latencyMs } = page.state;
  const target = chosenTarget();
  if (target?.id !== plotted.id || source !== plotted.source) rows.score.length = rows.latency.length = 0;
  else if (frame === plotted.frame) return;
  plotted = { id: target?.id, frame, source };
  if (!target) return;
  push(rows.score, Math.max(0, Math.min(1, target.score)));
  push(rows.latency, latencyMs);
}

function push(row, value) {
  row.push(value);
  if (row.length > LENGTH) row.shift();
}

export function showPlots() {
  const target = chosenTarget();
  const spread = page.state?.latency_ms;
  $("score-now").textContent = target ? target.score.toFixed(2) : "";
  $("latency-spread").textContent = spread ? `p50 ${spread[0].toFixed(1)} · p99 ${spread[2].toFixed(1)} ms` : "";
  plot($("score-plot"), rows.score, 1, COLORS.present);
  plot($("latency-plot"), rows.latency, Math.max(LEAST_LATENCY_MS, ...rows.latency) * 1.1, COLORS.reacquired);
}

function plot(canvas, values, most, color) {
  const { pen, width, height } = cleared(canvas);
  pen.strokeStyle = "#232c38";
  pen.lineWidth = 1;
  pen.beginPath();
  for (const share of [0.25, 0.5, 0.75]) {
    pen.moveTo(0, height * share);
    pen.lineTo(width, height * share);
  }
  pen.stroke();
  pen.strokeStyle = color;
  pen.lineJoin = "round";
  pen.lineWidth = 1.6;
  pen.beginPath();
  values.forEach((value, place) => {
    const x = width * (1 - (values.length - 1 - place) / (LENGTH - 1));
    pen.lineTo(x, height - 4 - (height - 8) * Math.min(1, value / most));
  });
  pen.stroke();
}
