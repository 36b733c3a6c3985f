// Requests to the server.

/** The server has answered with an error. */
export class Rejection extends Error {}

/** POST an object, or GET if there is none. Throws TypeError if the server does not answer. */
export async function ask(path, content, signal) {
  const headers = { "Content-Type": "application/json" };
  const post = { method: "POST", headers, body: JSON.stringify(content), signal };
  const response = await fetch(path, content ? post : {});
  if (response.ok) return response;
  const { error } = await response.json();
  throw new Rejection(error.message);
}

/** Yield the lines of a response as they arrive. */
export async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

/** The bytes of an array as base64 -> the array. */
export function decodeArray(base64, ArrayType) {
  return new ArrayType(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)).buffer);
}
