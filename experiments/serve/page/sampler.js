// The sampler of gpt2.py and generation/min_p_and_repetition.py, up to the draw.

/** Logits [n_vocab] -> the probabilities that the sampler draws from, [n_vocab]. */
export function nextProbabilities(logits, { temperature, top_k, top_p, min_p }) {
  if (temperature === 0) {
    const best = logits.indexOf(maximum(logits));
    return Float64Array.from(logits, (_, id) => (id === best ? 1 : 0));
  }
  let scores = applyTemperature(logits, temperature);
  if (top_k > 0) scores = keepTopK(scores, top_k);
  if (top_p < 1) scores = keepTopP(scores, top_p);
  if (min_p > 0) scores = keepMinP(scores, min_p);
  return softmax(scores);
}

export function softmax(scores) {
  const highest = maximum(scores);
  const exponentials = Float64Array.from(scores, (score) => Math.exp(score - highest));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}

function maximum(scores) {
  return scores.reduce((highest, score) => Math.max(highest, score), -Infinity);
}

function applyTemperature(logits, temperature) {
  const highest = maximum(logits);
  return Float64Array.from(logits, (logit) => (logit - highest) / temperature);
}

function keepTopK(scores, top_k) {
  const ranked = scores.slice().sort().reverse(); // a typed array sorts numbers
  const threshold = ranked[Math.min(top_k, ranked.length) - 1];
  return keepFrom(scores, scores, threshold);
}

function keepTopP(scores, top_p) {
  const probs = softmax(scores);
  const ranked = probs.slice().sort().reverse();
  let total = 0;
  let nKept = 0;
  while (nKept < ranked.length && total < top_p) {
    total += ranked[nKept];
    nKept += 1;
  }
  return keepFrom(scores, probs, ranked[nKept - 1]);
}

function keepMinP(scores, min_p) {
  return keepFrom(scores, scores, maximum(scores) + Math.log(min_p));
}

/** Rule out the tokens whose value is below the threshold. */
function keepFrom(scores, values, threshold) {
  return scores.map((score, id) => (values[id] < threshold ? -Infinity : score));
}
