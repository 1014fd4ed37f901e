/** The picture with its boxes, and the place of its pixels on the screen. */

import { $, page } from "./page.js";

export const COLORS = { present: "#3ddc84", uncertain: "#ffbe28", lost: "#ff5c5c", reacquired: "#38bdf8" };

const canvas = $("picture");
let bitmap = null;

/** Take the picture of the newest state. */
export function takePicture(newest) {
  bitmap?.close();
  bitmap = newest;
}

/** Where a picture of some size lies in an area that shows all of it: CSS pixels a pixel of the frame, and its left top. */
function fitted(area, [width, height]) {
  const scale = Math.min(area.width / width, area.height / height);
  return { scale, left: (area.width - width * scale) / 2, top: (area.height - height * scale) / 2 };
}

/** CSS pixels a pixel of the frame. */
export const shownScale = () => fitted(canvas.getBoundingClientRect(), page.state.size).scale;

/** The place of a pointer in the frame, in its pixels; outside of the frame if it is beside the picture. */
export function placeOf(event) {
  const area = canvas.getBoundingClientRect();
  const { scale, left, top } = fitted(area, page.state.size);
  return { x: (event.clientX - area.left - left) / scale, y: (event.clientY - area.top - top) / scale };
}

/** Make a canvas as fine as the screen and clear it; what is drawn by the pen is in CSS pixels. */
export function cleared(drawn) {
  const { width, height } = drawn.getBoundingClientRect();
  const ratio = window.devicePixelRatio;
  const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (drawn.width !== columns || drawn.height !== rows) [drawn.width, drawn.height] = [columns, rows];
  const pen = drawn.getContext("2d");
  pen.setTransform(columns / width, 0, 0, rows / height, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/**
 * Draw the newest picture, its targets, and the box that is being made.
 *
 * @param made The box [x, y, w, h] in pixels of the frame; null for none.
 */
export function drawPicture(made) {
  const { pen, width, height } = cleared(canvas);
  if (!bitmap || !page.state?.size) return;
  const [columns, rows] = page.state.size;
  const { scale, left, top } = fitted({ width, height }, page.state.size);
  const onScreen = ([x, y, w, h]) => [left + x * scale, top + y * scale, w * scale, h * scale];
  pen.drawImage(bitmap, left, top, columns * scale, rows * scale);
  for (const target of page.state.targets) {
    const [x, y, w, h] = onScreen(target.box);
    outline(pen, [x, y, w, h], COLORS[target.state], target.state === "lost");
    label(pen, { x, y, width }, `${target.id}  ${target.state}  ${target.score.toFixed(2)}`, COLORS[target.state]);
  }
  if (made) outline(pen, onScreen(made), "#ffffff", false);
}

function outline(pen, box, color, isDashed) {
  pen.setLineDash(isDashed ? [8, 6] : []);
  for (const [width, style] of [[4.5, "#000a"], [2, color]]) {
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.strokeRect(...box);
  }
  pen.setLineDash([]);
}

function label(pen, { x, y, width }, text, color) {
  pen.font = "600 12.5px system-ui, DejaVu Sans, sans-serif";
  const wide = pen.measureText(text).width + 12;
  const left = Math.max(2, Math.min(x, width - wide - 2));
  const top = y > 26 ? y - 23 : y + 4;
  pen.fillStyle = color;
  pen.beginPath();
  pen.roundRect(left, top, wide, 19, 4);
  pen.fill();
  pen.fillStyle = "#0b0f14";
  pen.fillText(text, left + 6, top + 14);
}
