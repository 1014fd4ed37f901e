/** What the modules of the page share: its elements, the newest state of the device, and what the user chose. */

export const $ = (id) => document.getElementById(id);

export const page = {
  /** The newest state that the device sent, as in /api/state; null before the first. */
  state: null,
  /** The connection: "connecting", "open", "quiet" (open, but nothing comes), "lost" or "refused". */
  link: "connecting",
  /** The number of the target that the user chose last; it may be gone. */
  chosen: null,
  /** Whether the next box is for another target. */
  isAdding: false,
};

/** The target that a box moves: the one that was chosen, or the first where that is gone; undefined without any. */
export function chosenTarget() {
  const targets = page.state?.targets ?? [];
  return targets.find((target) => target.id === page.chosen) ?? targets[0];
}

/** Whether the device answers, so that what is shown is what it does. */
export const isLinked = () => page.state !== null && ["open", "quiet"].includes(page.link);

/** Whether this page may change anything. */
export const maySteer = () => isLinked() && !page.state.is_watching;

let show = () => {};

/** Set what shows the page. */
export function showWith(render) { show = render; }

/** Show the page anew, after a change that is no new state of the device. */
export function changed() { show(); }
