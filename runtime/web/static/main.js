/** Shows what the device sends, and turns buttons and keys into verbs. */

import { listen, post, snapshot } from "./link.js";
import { say, sayError, showNotice } from "./notice.js";
import { $, changed, isLinked, maySteer, page, showWith } from "./page.js";
import { resetChoices, showChoices, showEvents, showFigures, showTargets } from "./panel.js";
import { isByKeyboard, madeBox, stopMaking } from "./picking.js";
import { drawPicture, takePicture } from "./picture.js";
import { remember, showPlots } from "./plots.js";

showWith(() => {
  drawPicture(madeBox());
  showFigures();
  showTargets((id) => steer("remove", { id }));
  showPlots();
  showChoices();
  showEvents();
  showNotice();
  showVerbs();
  showHint();
});

const isOver = ({ mode }) => ["ended", "failed"].includes(mode);

function showVerbs() {
  const { state } = page;
  for (const id of ["pause", "step", "reset", "record"]) $(id).disabled = !maySteer();
  $("snapshot").disabled = !isLinked() || state.frame === null;
  $("pause").disabled ||= isOver(state);
  $("record").disabled ||= isOver(state) && !state.recording;
  $("step").disabled ||= state.mode !== "paused";
  $("pause").textContent = state?.mode === "paused" ? "Resume" : "Pause";
  $("record").classList.toggle("on", Boolean(state?.recording));
  $("record").lastElementChild.textContent = state?.recording ? `Stop (${state.recorded})` : "Record";
}

function showHint() {
  const { state } = page;
  const wantsBox = page.isAdding || !state?.targets.length;
  $("hint").hidden = !maySteer() || state.frame === null || isOver(state) || !(wantsBox || isByKeyboard());
  $("hint").textContent = isByKeyboard()
    ? "Arrows move the box, Shift and arrows size it; Enter follows, Escape gives up"
    : "Drag a box around what you want to follow";
}

/** Ask the device for a change, and say so if it cannot be done. */
async function steer(verb, body) {
  const answer = await post(verb, body);
  if (answer.error) sayError(answer);
}

async function choose(verb, body) {
  await steer(verb, body);
  resetChoices();
  changed();
}

async function save() {
  const picture = await snapshot();
  if (!picture) { say("There is no picture, or the device does not answer."); return; }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(picture);
  link.download = `siamedge-${page.state.frame}.jpg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Leave a box that is being made, and the wish for another target. */
function giveUp() {
  page.isAdding = false;
  stopMaking();
}

const VERBS = {
  pause: () => steer(page.state.mode === "paused" ? "resume" : "pause"),
  step: () => steer("step"),
  reset: () => steer("reset"),
  record: () => steer("record", { on: !page.state.recording }),
  snapshot: save,
  "take-control": () => steer("control"),
  add: () => { page.isAdding = !page.isAdding; changed(); },
};
for (const [id, verb] of Object.entries(VERBS)) $(id).onclick = verb;
$("source").onchange = (event) => choose("source", { address: event.target.value });
$("model").onchange = (event) => choose("model", { name: event.target.value });

const KEYS = { " ": "pause", s: "step", r: "record" };
addEventListener("keydown", (event) => {
  if (event.key === "Escape") giveUp();
  const button = $(KEYS[event.key.toLowerCase()]);
  const isForOther = event.target.closest("select, button") || event.ctrlKey || event.metaKey || event.altKey;
  if (!button || isForOther) return;
  event.preventDefault();
  if (!event.repeat) button.click();
});

const sizes = new ResizeObserver(changed);
for (const canvas of document.querySelectorAll("canvas")) sizes.observe(canvas);

function take(state, picture) {
  const isOther = page.state && (state.source !== page.state.source || String(state.size) !== String(page.state.size));
  page.state = state;
  if (picture) takePicture(picture);
  if (isOther) giveUp();
  remember();
  changed();
}

listen(take, (link) => {
  if (link === page.link) return;
  page.link = link;
  if (!isLinked()) giveUp();
  changed();
});
