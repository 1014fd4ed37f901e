/** Choosing targets in the picture: by dragging a box, by a click that moves one, and by the keyboard. */

import { post } from "./link.js";
import { say, sayError } from "./notice.js";
import { $, changed, chosenTarget, maySteer, page } from "./page.js";
import { placeOf, shownScale } from "./picture.js";

const CLICK_PX = 6;
const THINNEST_PX = 4;
const STEPS = 64; // that a box takes by the keyboard from one end of the picture to the other
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const canvas = $("picture");
/** A pointer that is down, {pointer, from, to}, or the box of the keyboard, {box}; null without either. */
let making = null;

/** The box [x, y, w, h] that is being made, in pixels of the frame; null for none. */
export const madeBox = () => (making === null ? null : making.box ?? between(making.from, making.to));

export const isByKeyboard = () => Boolean(making?.box);

export function stopMaking() {
  making = null;
  changed();
}

function between(a, b) {
  const [width, height] = page.state.size;
  const [left, right] = [a.x, b.x].sort((p, q) => p - q).map((x) => within(x, width));
  const [top, bottom] = [a.y, b.y].sort((p, q) => p - q).map((y) => within(y, height));
  return [left, top, right - left, bottom - top];
}

const within = (value, most) => Math.max(0, Math.min(most, value));

const isInside = ({ x, y }) => x >= 0 && y >= 0 && x < page.state.size[0] && y < page.state.size[1];

function canMake() {
  if (maySteer() && page.state.size) return true;
  if (page.state?.is_watching) say("You are watching: take control first.");
  return false;
}

async function follow(box) {
  const body = { box };
  const target = chosenTarget();
  if (!page.isAdding && target) body.id = target.id;
  page.isAdding = false;
  const answer = await post("target", body);
  if (answer.error) sayError(answer);
  else page.chosen = answer.id;
  changed();
}

function finish(from, to) {
  const scale = shownScale();
  const draggedPx = scale * Math.max(Math.abs(from.x - to.x), Math.abs(from.y - to.y));
  if (draggedPx <= CLICK_PX) moveTo(to);
  else {
    const box = between(from, to);
    if (scale * Math.min(box[2], box[3]) >= THINNEST_PX) follow(box);
    else say("This box is too thin. Drag from one corner of the target to the opposite one.");
  }
}

function moveTo({ x, y }) {
  const target = chosenTarget();
  if (!target) say("Drag a box around the target. A click moves a box that is there.");
  else if (isInside({ x, y })) follow([x - target.box[2] / 2, y - target.box[3] / 2, target.box[2], target.box[3]]);
}

canvas.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary) { stopMaking(); return; }
  if (event.button !== 0 || !canMake()) return;
  canvas.setPointerCapture(event.pointerId);
  const place = placeOf(event);
  making = { pointer: event.pointerId, from: place, to: place };
});
canvas.addEventListener("pointermove", (event) => {
  if (making?.pointer !== event.pointerId) return;
  making.to = placeOf(event);
  changed();
});
canvas.addEventListener("pointerup", (event) => {
  if (making?.pointer !== event.pointerId) return;
  const { from } = making;
  stopMaking();
  if (maySteer()) finish(from, placeOf(event));
});
for (const name of ["pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(name, (event) => { if (making?.pointer === event.pointerId) stopMaking(); });
}

canvas.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.repeat) {
    const box = making?.box;
    stopMaking();
    if (box) follow(box);
    else if (canMake()) making = { box: firstBox() };
  } else if (making?.box && event.key in MOVES) {
    making.box = pushed(making.box, MOVES[event.key], event.shiftKey);
  } else return;
  event.preventDefault();
  changed();
});
canvas.addEventListener("blur", () => { if (isByKeyboard()) stopMaking(); });

/** Where the box of the keyboard begins: on the target that it moves, otherwise in the middle. */
function firstBox() {
  const target = chosenTarget();
  if (target && !page.isAdding) return [...target.box];
  const [width, height] = page.state.size;
  const side = Math.min(width, height) / 5;
  return [(width - side) / 2, (height - side) / 2, side, side];
}

/** A box one step further, or one step larger or smaller about its middle; its middle stays in the frame. */
function pushed([x, y, w, h], [right, down], isSized) {
  const [width, height] = page.state.size;
  const step = Math.max(width, height) / STEPS;
  if (isSized) {
    const [wide, high] = [within(w + right * step, width), within(h - down * step, height)].map((side) => Math.max(step / 2, side));
    return [x + (w - wide) / 2, y + (h - high) / 2, wide, high];
  }
  return [within(x + w / 2 + right * step, width) - w / 2, within(y + h / 2 + down * step, height) - h / 2, w, h];
}
