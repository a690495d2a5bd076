// The mathematics of the figures, as in the book. Arrays of numbers in, arrays of numbers out.

/** Numbers from `low` to `high`, by steps of hundredths or more. */
export function range(low, high, by = 1) {
  return Array.from({ length: Math.round((high - low) / by) + 1 }, (_, i) => Math.round((low + i * by) * 100) / 100);
}

/** The dot product of two vectors over their first `width` numbers. */
export function dot(a, b, width = a.length) {
  let sum = 0;
  for (let i = 0; i < width; i++) sum += a[i] * b[i];
  return sum;
}

/** Positive weights that sum to 1; zeros where `visible` is false, and only zeros where nothing is visible. */
export function softmax(scores, visible = scores.map(() => true)) {
  const largest = Math.max(...scores.filter((_, i) => visible[i]));
  const exponentials = scores.map((score, i) => (visible[i] ? Math.exp(score - largest) : 0));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((value) => (sum > 0 ? value / sum : 0));
}

/** The average of vectors, each with its weight. */
export function blend(weights, vectors) {
  return vectors[0].map((_, column) => dot(weights, vectors.map((vector) => vector[column])));
}

/** How strongly softmax weights react to their scores: the Frobenius norm of diag(w) − w wᵀ. */
export function reaction(weights) {
  let sum = 0;
  weights.forEach((a, i) => weights.forEach((b, j) => (sum += ((i === j ? a : 0) - a * b) ** 2)));
  return Math.sqrt(sum);
}
