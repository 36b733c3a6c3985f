// Draw the panels. `view` is what they show:
//   answer: the server's, with the arrays `weights` and `logits`
//   layer, head: the enlarged head
//   query: the index of a token; the panel Attention shows what it reads
//   cell: [row, column] of the logit lens
//   probs: of the next token after the sampler, [n_vocab]

import { softmax } from "./sampler.js";

const MAX_BITS = 15; // this surprisal and any larger one have the same color, as in surprise.py
const MIN_LABEL = 9; // pixels per row below which the enlarged head has no labels

export const byId = (id) => document.getElementById(id);
const labelOf = (view, id) => view.answer.labels[id];

function percent(prob) {
  if (prob === 0) return "0 %";
  return prob < 0.0005 ? "< 0.1 %" : `${(100 * prob).toFixed(1)} %`;
}

/** The tokens that the panels Attention and Layers show. */
export function shownIds({ answer }) {
  return answer.ids.slice(-answer.n_shown);
}

/** Give an element n children, and keep those it has, so that the focus stays. Returns them. */
function resize(parent, n, make) {
  while (parent.children.length > n) parent.lastElementChild.remove();
  while (parent.children.length < n) parent.append(make());
  return [...parent.children];
}

/** Make an element with children of these tags: element("li", "b", "small"). */
function element(tag, ...childTags) {
  const made = document.createElement(tag);
  made.append(...childTags.map((childTag) => document.createElement(childTag)));
  return made;
}

function setTexts(parent, ...texts) {
  texts.forEach((text, index) => (parent.children[index].textContent = text));
}

/** Let Tab reach only one of several elements. The arrow keys reach the others: `moveFocus`. */
function setTabStop(items, current) {
  items.forEach((item, index) => (item.tabIndex = index === current ? 0 : -1));
}

export function moveFocus(event, items, nColumns) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -nColumns, ArrowDown: nColumns };
  const current = items.indexOf(document.activeElement);
  const targets = { Home: 0, End: items.length - 1 };
  const target = items[targets[event.key] ?? current + steps[event.key]];
  if (current < 0 || !target) return;
  event.preventDefault();
  target.focus();
}

// 1. Tokens

export function drawTokens(view, nAdded) {
  const { ids, bits } = view.answer;
  const items = resize(byId("tokens"), ids.length, () => element("li", "b", "small", "small"));
  items.forEach((item, index) => {
    const surprisal = bits[index] === null ? "first" : `${bits[index].toFixed(1)} bits`;
    setTexts(item, labelOf(view, ids[index]), ids[index], surprisal);
    item.classList.toggle("added", index >= ids.length - nAdded);
    item.style.setProperty("--heat", Math.min(bits[index] / MAX_BITS, 1));
  });
}

// 2. Attention

const weightAt = (view, layer, head, query, key) => {
  const { n_shown, weights, nHead } = view.answer;
  return weights[((layer * nHead + head) * n_shown + query) * n_shown + key] / 65535;
};

/** 256 colors from the style sheet, as pixels: the bytes are red, green, blue and opacity. */
function colorScale() {
  const style = getComputedStyle(document.documentElement);
  const [low, middle, high] = ["low", "middle", "high"].map((name) =>
    style.getPropertyValue(`--weight-${name}`).trim().split(" ").map(Number),
  );
  const pixels = Array.from({ length: 256 }, (_, step) => {
    const [from, to] = step < 128 ? [low, middle] : [middle, high];
    const part = step < 128 ? step / 127 : (step - 128) / 127;
    return [...from.map((value, channel) => value + part * (to[channel] - value)), 255];
  });
  return new Uint32Array(Uint8ClampedArray.from(pixels.flat()).buffer);
}

/** One pixel per weight. The pixels of later tokens stay transparent. The colors show the root of the weight. */
function paint(canvas, view, layer, head, colors) {
  const n = view.answer.n_shown;
  canvas.width = canvas.height = n;
  const image = new ImageData(n, n);
  const pixels = new Uint32Array(image.data.buffer);
  for (let query = 0; query < n; query += 1) {
    for (let key = 0; key <= query; key += 1) {
      const weight = weightAt(view, layer, head, query, key);
      pixels[query * n + key] = colors[Math.round(255 * Math.sqrt(weight))];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export function drawHeads(view) {
  const { nLayer, nHead } = view.answer;
  const colors = colorScale();
  byId("heads").style.setProperty("--columns", nHead);
  const items = resize(byId("heads"), nLayer * nHead, () => {
    const made = element("button", "canvas");
    made.type = "button";
    made.setAttribute("role", "radio");
    return made;
  });
  items.forEach((item, index) => {
    const [layer, head] = [Math.floor(index / nHead), index % nHead];
    item.setAttribute("aria-label", `Layer ${layer}, head ${head}`);
    paint(item.firstChild, view, layer, head, colors);
  });
  drawHead(view);
}

/** The enlarged head. */
export function drawHead(view) {
  const { layer, head } = view;
  const thumbnails = [...byId("heads").children];
  const selected = layer * view.answer.nHead + head;
  thumbnails.forEach((item, index) => item.setAttribute("aria-checked", index === selected));
  setTabStop(thumbnails, selected);
  byId("head-title").textContent = `Layer ${layer}, head ${head}`;
  const ids = shownIds(view);
  const canvas = document.querySelector("#map canvas");
  paint(canvas, view, layer, head, colorScale());
  byId("head").style.setProperty("--n", ids.length);
  byId("head").classList.toggle("dense", canvas.clientWidth / ids.length < MIN_LABEL);
  for (const side of ["rows", "columns"]) {
    const items = resize(byId(side), ids.length, () => element("span"));
    items.forEach((item, index) => (item.textContent = labelOf(view, ids[index])));
  }
  drawReads(view);
  drawWeightTable(view);
}

/** Color each token by the weight that the query gives it. */
export function drawReads(view) {
  const ids = shownIds(view);
  const items = resize(byId("reads"), ids.length, () => {
    const made = element("div", "b", "small");
    made.setAttribute("role", "option");
    return made;
  });
  items.forEach((item, key) => {
    const weight = key <= view.query ? weightAt(view, view.layer, view.head, view.query, key) : 0;
    setTexts(item, labelOf(view, ids[key]), key <= view.query ? percent(weight) : "later");
    item.setAttribute("aria-selected", key === view.query);
    item.style.setProperty("--heat", Math.sqrt(weight));
  });
  setTabStop(items, view.query);
  byId("reads-title").textContent = `In this head, ${labelOf(view, ids[view.query])} reads from:`;
  byId("cursor").style.top = `${(100 * view.query) / ids.length}%`;
  byId("cursor").style.height = `${100 / ids.length}%`;
}

export function drawWeight(view, key) {
  const ids = shownIds(view);
  const [query, token] = [view.query, key].map((index) => labelOf(view, ids[index]));
  const weight = percent(weightAt(view, view.layer, view.head, view.query, key));
  byId("weight").textContent = key <= view.query ? `${query} reads ${weight} from ${token}` : `${token} is later`;
}

/** The text alternative of the enlarged head. It is large, so it exists only while it is open. */
export function drawWeightTable(view) {
  const isOpen = byId("weights").open;
  const ids = isOpen ? shownIds(view) : [];
  const rows = resize(byId("weights").querySelector("table"), isOpen ? ids.length + 1 : 0, () => element("tr"));
  rows.forEach((row, index) => {
    const texts = ids.map((id, key) => {
      if (index === 0) return labelOf(view, id);
      return key < index ? percent(weightAt(view, view.layer, view.head, index - 1, key)) : "";
    });
    const cells = [index === 0 ? "token" : labelOf(view, ids[index - 1]), ...texts].map((text, column) => {
      const cell = element(index === 0 || column === 0 ? "th" : "td");
      cell.textContent = text;
      return cell;
    });
    row.replaceChildren(...cells);
  });
}

// 3. Layers

export function drawLens(view) {
  const ids = shownIds(view);
  const { lens } = view.answer;
  const rows = resize(byId("lens"), lens.ids.length + 1, () => element("tr"));
  const headers = resize(rows[0], ids.length + 1, () => element("th"));
  headers.forEach((header, column) => (header.textContent = column ? labelOf(view, ids[column - 1]) : "after"));
  rows.slice(1).forEach((row, layer) => {
    if (!row.firstChild) row.append(element("th"));
    row.firstChild.textContent = rowName(layer);
    const cells = resize(row, ids.length + 1, () => element("td", "b", "small")).slice(1);
    cells.forEach((cell, column) => {
      const [best] = lens.ids[layer][column];
      const [prob] = lens.probs[layer][column];
      setTexts(cell, labelOf(view, best), percent(prob));
      cell.style.setProperty("--heat", prob);
    });
  });
  drawBest(view);
}

const rowName = (row) => (row === 0 ? "embedding" : `layer ${row - 1}`);

/** The five most probable tokens of the selected cell. */
export function drawBest(view) {
  const [row, column] = view.cell;
  const { lens, n_shown } = view.answer;
  const cells = [...byId("lens").querySelectorAll("td")];
  const selected = row * n_shown + column;
  setTabStop(cells, selected);
  cells.forEach((cell, index) => cell.setAttribute("aria-selected", index === selected));
  const token = labelOf(view, shownIds(view)[column]);
  byId("best").firstElementChild.textContent = `After ${rowName(row)}, to follow ${token}:`;
  const items = resize(byId("best").lastElementChild, lens.ids[row][column].length, () => element("li", "b", "small"));
  items.forEach((item, rank) => {
    const prob = lens.probs[row][column][rank];
    setTexts(item, labelOf(view, lens.ids[row][column][rank]), percent(prob));
    item.style.setProperty("--heat", prob);
  });
}

// 4. Next token

export function drawBars(view) {
  const { best, logits } = view.answer;
  const own = softmax(logits);
  const longest = Math.max(own[best[0]], view.probs[best[0]]);
  const items = resize(byId("bars"), best.length, () => {
    const made = element("li", "button");
    made.firstChild.type = "button";
    made.firstChild.append(...element("p", "b", "i", "small").children);
    return made;
  });
  items.forEach((item, rank) => {
    const button = item.firstChild;
    const prob = view.probs[best[rank]];
    setTexts(button, labelOf(view, best[rank]), "", percent(prob));
    button.classList.toggle("out", prob === 0);
    button.style.setProperty("--own", own[best[rank]] / longest);
    button.style.setProperty("--now", prob / longest);
  });
}

// 5. Explanations

export function drawShapes(view) {
  for (const section of document.querySelectorAll("[data-panel]")) {
    const shapes = view.answer.shapes[section.dataset.panel];
    const texts = shapes.map(([name, shape]) => `${name}: [${shape.join(", ")}]`);
    section.querySelector(".shapes").textContent = `Shapes for this text: ${texts.join(", ")}`;
  }
}

/** Add the shapes and the code to each panel. code: {panel: [{file, line, code}]}. */
export function addExplanations(code) {
  for (const section of document.querySelectorAll("[data-panel]")) {
    const explanation = byId("explanation").content.cloneNode(true);
    const details = explanation.querySelector("details");
    for (const { file, line, code: lines } of code[section.dataset.panel]) {
      const [title, listing] = [element("p"), element("pre")];
      title.textContent = `${file}, from line ${line}`;
      listing.textContent = lines;
      listing.tabIndex = 0;
      listing.setAttribute("role", "region");
      listing.setAttribute("aria-label", title.textContent);
      details.append(title, listing);
    }
    section.append(explanation);
  }
}
