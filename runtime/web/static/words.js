/** What is said of each state of the connection and of the source. */

const OF_LINK = {
  connecting: { text: "connecting", kind: "warn", advice: "" },
  quiet: { text: "no answer", kind: "bad", advice: "The device has not answered for some seconds. The picture may be old." },
  lost: { text: "no connection", kind: "bad", advice: "No connection to the device. This page goes on trying." },
  refused: { text: "not admitted", kind: "bad", advice: "siamedge was started again: open the link that it printed." },
};
const OF_MODE = {
  paused: { text: "paused", kind: "warn", advice: "" },
  ended: { text: "ended", kind: "warn", advice: "The source has ended. Reset opens it again." },
};
const OF_SOURCE = {
  file: { text: "playing", kind: "good", advice: "" },
  live: { text: "live", kind: "good", advice: "" },
  stalled: { text: "no new pictures", kind: "bad", advice: "" },
  frozen: { text: "picture frozen", kind: "bad", advice: "" },
  reconnecting: { text: "reconnecting", kind: "bad", advice: "" },
  ended: OF_MODE.ended,
};

/**
 * What is to be said: of the connection if it is broken, otherwise of the source.
 *
 * @returns {{text: string, kind: string, advice: string}} A word or two; "good", "warn" or "bad"; a sentence or "".
 */
export function condition({ link, state }) {
  if (link !== "open") return OF_LINK[link];
  if (state.mode === "failed") return { text: "source failed", kind: "bad", advice: `${sentence(state.failure)} Reset tries again.` };
  const said = OF_MODE[state.mode] ?? OF_SOURCE[state.source_state];
  return state.frame === null && said.kind === "good" ? { ...said, text: "waiting for a picture", kind: "warn" } : said;
}

/** A message of the device as a sentence. */
export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
