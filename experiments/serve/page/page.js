// The page: ask the server about the text, let the panels show the answer, and draw tokens.

import * as panels from "./panels.js";
import { nextProbabilities } from "./sampler.js";
import { Rejection, ask, decodeArray, linesOf } from "./server.js";

const { byId } = panels;
const prompt = byId("prompt");
const main = document.querySelector("main");
const NUMBERS = ["temperature", "top_k", "top_p", "min_p", "seed"];

// The text: typed text, the ids of clicked tokens after it, and the ids that Step and Run drew after those.
let text = { text: prompt.value, chosen: [], drawn: [] };
let undoable = []; // earlier texts
let version = 1; // of the text
let typedVersion = 1; // when the user last typed
let shownVersion = 0;
let isAsking = false;
let running = null; // the AbortController of Step or Run
let about = null; // the model and the code
let view = null; // see panels.js
let fixedQuery = null; // the user chose this token; null is the newest one
let fixedCell = null;

// Talk to the server.

/** Returns the JSON of the answer. If there is none, it shows the reason, and returns null. */
async function askJson(path, content) {
  try {
    const answer = await (await ask(path, content)).json();
    byId("problem").hidden = true;
    return answer;
  } catch (error) {
    showProblem(error);
    return null;
  }
}

function showProblem(error) {
  byId("problem").firstElementChild.textContent =
    error instanceof Rejection
      ? `The server rejects the request: ${error.message}`
      : "The server does not answer. Start it again, then retry.";
  byId("problem").hidden = false;
}

/** Show the newest text. Only one request runs at a time; a change during it leads to one more. */
async function refresh() {
  if (isAsking) return;
  isAsking = true;
  main.setAttribute("aria-busy", true);
  if (!about) {
    about = await askJson("/about");
    if (about) showModel();
  }
  while (about && shownVersion < version) {
    const [asked, askedText] = [version, text];
    const answer = await askJson("/inspect", askedText);
    if (!answer) break;
    if (asked < typedVersion) continue; // outdated: the user has typed since
    shownVersion = asked;
    show(answer, askedText);
  }
  main.setAttribute("aria-busy", false);
  isAsking = false;
}

function showModel() {
  const { n_layer, n_head, n_embd, n_ctx, n_vocab } = about.hparams;
  byId("model").textContent =
    `Model ${about.name}: ${n_layer} layers of ${n_head} heads, ${n_embd} numbers per token, ` +
    `${n_vocab} tokens in the vocabulary, a context of ${n_ctx} tokens.`;
  panels.addExplanations(about.code);
}

// Show an answer.

function show(answer, { chosen, drawn }) {
  answer.weights = decodeArray(answer.attention, Uint16Array);
  answer.logits = decodeArray(answer.logits, Float32Array);
  answer.nLayer = about.hparams.n_layer;
  answer.nHead = about.hparams.n_head;
  const newest = answer.n_shown - 1;
  const layer = view?.layer ?? Math.min(3, answer.nLayer - 1);
  const head = view?.head ?? Math.min(1, answer.nHead - 1);
  const query = Math.min(fixedQuery ?? newest, newest);
  const [row, column] = fixedCell ?? [answer.nLayer, newest];
  view = { answer, layer, head, query, cell: [row, Math.min(column, newest)] };
  const nAdded = chosen.length + drawn.length;
  if (shownVersion === version && nAdded > 0) prompt.value = answer.text; // with all bytes of each character
  showNote(answer);
  panels.drawTokens(view, nAdded);
  panels.drawHeads(view);
  panels.drawLens(view);
  if (!fixedCell) byId("lens-scroll").scrollLeft = byId("lens-scroll").scrollWidth;
  panels.drawShapes(view);
  applySampler();
}

function showNote({ ids, n_tokens, n_shown }) {
  const notes = [];
  if (ids.length < n_tokens) notes.push(`The text has ${n_tokens} tokens. The model reads the last ${ids.length}.`);
  if (n_shown < ids.length) notes.push(`Attention and Layers show the last ${n_shown} tokens.`);
  if (prompt.value === "") notes.push(`The text is empty. The model starts from ${view.answer.labels[ids[0]]}.`);
  byId("note").textContent = notes.join(" ");
  byId("note").hidden = notes.length === 0;
}

// The sampler.

function settings() {
  return Object.fromEntries(NUMBERS.map((name) => [name, Number(byId(name).value)]));
}

function applySampler() {
  for (const output of byId("sampler").querySelectorAll("output")) {
    output.textContent = byId(output.htmlFor.value).value;
  }
  if (!view) return;
  view.probs = nextProbabilities(view.answer.logits, settings());
  panels.drawBars(view);
  showCommand();
}

/** The command that writes the text of Run: for a POSIX shell. */
function showCommand() {
  const { prompt: whole } = view.answer;
  const { seed, temperature, top_k, top_p, min_p } = settings();
  const flags = [`--model_size=${about.name}`, `--seed=${seed}`, `--temperature=${temperature}`];
  if (top_k > 0) flags.push(`--top_k=${top_k}`);
  if (top_p < 1) flags.push(`--top_p=${top_p}`);
  if (min_p > 0) flags.push(`--min_p=${min_p}`);
  flags.push(`--n_tokens_to_generate=${text.drawn.length || byId("n_tokens").value}`);
  flags.push(whole ? `--prompt='${whole.replaceAll("'", "'\\''")}'` : "--unconditional");
  const hasCommand = whole !== null;
  byId("command-intro").textContent = hasCommand
    ? "In a terminal, the same seed and settings give the same text:"
    : "No command gives this text: gpt2.py would read other tokens.";
  byId("command").textContent = `python gpt2.py ${flags.join(" ")}`;
  byId("command").hidden = !hasCommand;
}

// Change the text.

function change(newText) {
  text = newText;
  version += 1;
  updateButtons();
  refresh();
}

function updateButtons() {
  byId("stop").setAttribute("aria-disabled", !running);
  byId("step").setAttribute("aria-disabled", Boolean(running));
  byId("run").setAttribute("aria-disabled", Boolean(running));
  byId("undo").setAttribute("aria-disabled", undoable.length === 0);
}

function remember() {
  undoable.push({ ...text, shown: prompt.value });
}

/** Step and Run: let the server draw tokens, and append each as soon as it is known. */
async function draw(nTokens) {
  if (running || !byId("sampler").reportValidity()) return;
  const controller = new AbortController();
  const { signal } = controller;
  running = controller;
  remember();
  updateButtons();
  byId("status").textContent = "Drawing.";
  let ending = "";
  let nDrawn = 0;
  try {
    const response = await ask("/run", { ...text, ...settings(), n_tokens: nTokens }, signal);
    for await (const line of linesOf(response)) {
      const token = JSON.parse(line);
      if (signal.aborted) break;
      if (token.end) {
        ending = " The model ended the text.";
      } else {
        nDrawn += 1;
        prompt.value += token.text;
        change({ ...text, drawn: [...text.drawn, token.id] });
      }
    }
  } catch (error) {
    if (!signal.aborted) showProblem(error);
  }
  byId("status").textContent = `${nDrawn} ${nDrawn === 1 ? "token" : "tokens"} drawn.${ending}`;
  if (running !== controller) return;
  running = null;
  if (nDrawn === 0) undoable.pop();
  updateButtons();
}

function choose(id) {
  abandonRun();
  remember();
  byId("status").textContent = "Token appended.";
  change({ text: text.text, chosen: [...text.chosen, ...text.drawn, id], drawn: [] });
}

function undo() {
  abandonRun();
  if (undoable.length === 0) return;
  const { shown, ...earlier } = undoable.pop();
  prompt.value = shown;
  byId("status").textContent = "Undone.";
  change(earlier);
}

function abandonRun() {
  running?.abort();
  running = null;
}

prompt.addEventListener("input", () => {
  abandonRun();
  undoable = [];
  fixedQuery = fixedCell = null;
  byId("status").textContent = "";
  typedVersion = version + 1;
  change({ text: prompt.value, chosen: [], drawn: [] });
});
byId("step").addEventListener("click", () => draw(1));
byId("run").addEventListener("click", () => draw(Number(byId("n_tokens").value)));
byId("stop").addEventListener("click", () => running?.abort());
byId("undo").addEventListener("click", undo);
byId("sampler").addEventListener("input", applySampler);
byId("sampler").addEventListener("submit", (event) => event.preventDefault());
byId("problem").lastElementChild.addEventListener("click", () => {
  shownVersion = 0;
  refresh();
});
byId("bars").addEventListener("click", (event) => {
  const item = event.target.closest("li");
  if (item) choose(view.answer.best[[...item.parentElement.children].indexOf(item)]);
});

// Point at things, or move the focus to them with the arrow keys.

function onPoint(container, selector, select) {
  const handle = (event) => {
    const item = event.target.closest(selector);
    if (view && item) select([...container.querySelectorAll(selector)].indexOf(item));
  };
  for (const kind of ["pointerover", "focusin", "click"]) container.addEventListener(kind, handle);
}

function onArrows(container, selector, nColumns) {
  container.addEventListener("keydown", (event) => {
    panels.moveFocus(event, [...container.querySelectorAll(selector)], nColumns());
  });
}

function selectHead(index) {
  view.layer = Math.floor(index / view.answer.nHead);
  view.head = index % view.answer.nHead;
  panels.drawHead(view);
}

function selectQuery(index) {
  view.query = fixedQuery = index;
  panels.drawReads(view);
}

function selectCell(index) {
  const { n_shown } = view.answer;
  view.cell = fixedCell = [Math.floor(index / n_shown), index % n_shown];
  panels.drawBest(view);
}

onPoint(byId("reads"), "[role=option]", selectQuery);
onPoint(byId("lens"), "td", selectCell);
byId("heads").addEventListener("click", (event) => selectHeadOf(event.target));
byId("heads").addEventListener("focusin", (event) => selectHeadOf(event.target));
onArrows(byId("heads"), "[role=radio]", () => view.answer.nHead);
onArrows(byId("reads"), "[role=option]", () => 1);
onArrows(byId("lens"), "td", () => view.answer.n_shown);

function selectHeadOf(target) {
  const item = target.closest("[role=radio]");
  if (item) selectHead([...byId("heads").children].indexOf(item));
}

byId("map").addEventListener("pointermove", (event) => {
  if (!view) return;
  const { left, top, width, height } = byId("map").getBoundingClientRect();
  const n = view.answer.n_shown;
  const place = (part) => Math.max(0, Math.min(n - 1, Math.floor(part * n)));
  selectQuery(place((event.clientY - top) / height));
  panels.drawWeight(view, place((event.clientX - left) / width));
});
byId("weights").addEventListener("toggle", () => view && panels.drawWeightTable(view));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view && panels.drawHeads(view));

refresh();
