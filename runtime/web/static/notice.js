/** The line over the picture: what was just said, or what stays wrong. */

import { $, changed, page } from "./page.js";
import { condition, sentence } from "./words.js";

const SAID_MS = 6000;
let said = "";
let timer = 0;
let dismissed = "";

/** Say something for some seconds. */
export function say(text) {
  said = text;
  clearTimeout(timer);
  if (text) timer = setTimeout(() => say(""), SAID_MS);
  changed();
}

/** Say why something could not be done, with what to do. */
export function sayError({ error, hint }) {
  say(hint ? `${sentence(error)} ${sentence(hint)}` : sentence(error));
}

export function showNotice() {
  const lasting = trouble();
  if (lasting !== dismissed) dismissed = "";
  const text = said || (dismissed ? "" : lasting);
  if ($("notice-text").textContent !== text) $("notice-text").textContent = text;
  $("notice").hidden = !text;
  $("watching").hidden = !page.state?.is_watching;
}

function trouble() {
  const { advice } = condition(page);
  const problem = page.state?.recording_problem;
  return advice || (problem ? `The recording ended: ${problem}` : "");
}

$("notice-close").onclick = () => {
  if (!said) dismissed = trouble();
  say("");
};
