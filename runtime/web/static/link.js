/** The connection to the device: verbs, and a stream of states with pictures that never piles up. */

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 4000;
const QUIET_MS = 4000; // the device sends something each second
const GONE_MS = 90000; // a picture may need a minute on a slow line
const ANSWER_MS = 20000; // the server gives up after 15 s
const REFUSAL_MS = 2000;

const client = sessionStorage.client ||= `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
let retryMs = FIRST_RETRY_MS;

/**
 * Ask for something that changes what the device does.
 *
 * @returns {Promise<object>} The answer; {error, hint} where it could not be done.
 */
export async function post(verb, body = {}) {
  try {
    const answer = await fetch(`/api/${verb}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Client": client },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return await answer.json();
  } catch {
    return { error: "the device does not answer", hint: "" };
  }
}

/** The newest picture in full size with its boxes, as a JPEG; null where there is none. */
export async function snapshot() {
  try {
    const answer = await fetch("/api/snapshot.jpg", { signal: AbortSignal.timeout(ANSWER_MS) });
    return answer.ok ? await answer.blob() : null;
  } catch {
    return null;
  }
}

/**
 * Receive states for ever, connecting again after each break.
 *
 * @param onState Called with each state and its picture, an ImageBitmap; null where the picture is the one before.
 * @param onLink Called with the state of the connection: "open", "quiet", "lost" or "refused".
 */
export function listen(onState, onLink) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/api/stream?client=${encodeURIComponent(client)}`);
  let heardMs = performance.now();
  const watch = setInterval(() => {
    if (document.hidden || socket.readyState !== WebSocket.OPEN) heardMs = performance.now();
    const silentMs = performance.now() - heardMs;
    if (silentMs > QUIET_MS) onLink("quiet");
    if (silentMs > GONE_MS) socket.close();
  }, 1000);
  socket.binaryType = "arraybuffer";
  socket.onmessage = async (event) => {
    const { state, jpeg } = unpack(event.data);
    const bitmap = jpeg.size ? await createImageBitmap(jpeg).catch(() => null) : null;
    await visible();
    if (socket.readyState !== WebSocket.OPEN) return;
    heardMs = performance.now();
    retryMs = FIRST_RETRY_MS;
    onState(state, bitmap);
    onLink("open");
    socket.send("next");
  };
  socket.onclose = async () => {
    clearInterval(watch);
    onLink(await isRefused() ? "refused" : "lost");
    setTimeout(() => listen(onState, onLink), retryMs);
    retryMs = Math.min(LAST_RETRY_MS, retryMs * 2);
  };
}

/** A message is a 4-byte length, that much JSON, and a JPEG, which is empty where the picture did not change. */
function unpack(message) {
  const length = new DataView(message).getUint32(0);
  const state = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, length)));
  return { state, jpeg: new Blob([new Uint8Array(message, 4 + length)], { type: "image/jpeg" }) };
}

/** Wait until something can be shown, so that a hidden page asks for no more pictures. */
function visible() {
  return new Promise((resolve) => {
    if (document.hidden) document.addEventListener("visibilitychange", resolve, { once: true });
    else requestAnimationFrame(resolve);
  });
}

/** Whether the device is there but does not know this page's token, of which a WebSocket says nothing. */
async function isRefused() {
  try {
    return (await fetch("/api/state", { signal: AbortSignal.timeout(REFUSAL_MS) })).status === 401;
  } catch {
    return false;
  }
}
