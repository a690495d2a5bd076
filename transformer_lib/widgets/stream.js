// A stack of residual branches, forwards and backwards: how large the stream and the gradients are, branch by branch.

const WIDTH = 32, HIDDEN = 128, TOKENS = 8, EPS = 1e-5;
const KINDS = [
  { name: "pre", color: "var(--lf-query)", dash: "none" },
  { name: "post", color: "var(--lf-key)", dash: "9 4" },
  { name: "none", color: "var(--lf-value)", dash: "2.5 4" },
];

/** Number `index` of an endless list of random numbers between −√3 and √3: their mean is 0, their variance 1. */
export function randomAt(seed, index) {
  let bits = (Math.imul(seed, 0x9e3779b1) + Math.imul(index + 1, 0x6d2b79f5)) | 0;
  bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
  bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
  return ((((bits ^ (bits >>> 14)) >>> 0) + 0.5) / 2 ** 31 - 1) * Math.sqrt(3);
}

/** Tokens, targets, and the two matrices of each branch, row by row; all from one seed. */
export class Weights {
  constructor(seed) {
    this.seed = seed;
    this.tokens = this.take(0, TOKENS * WIDTH);
    this.targets = this.take(TOKENS * WIDTH, TOKENS * WIDTH);
    this.branches = [];
  }
  take(start, count) {
    return Float64Array.from({ length: count }, (_, i) => randomAt(this.seed, start + i));
  }
  branch(index) {
    const size = WIDTH * HIDDEN, start = 2 * TOKENS * WIDTH + 2 * size * index;
    return (this.branches[index] ??= { up: this.take(start, size), down: this.take(start + size, size) });
  }
}

/**
 * A branch, forwards: each hidden unit looks for its row of `up` in a token, and adds its row of `down` to the output
 * as strongly as it finds it, or not at all. The factors make the output `size` times as large as what enters.
 */
export function branchForward(entering, { up, down }, size) {
  const hidden = new Float64Array(TOKENS * HIDDEN), output = new Float64Array(TOKENS * WIDTH);
  const first = 1 / Math.sqrt(WIDTH), second = size * Math.sqrt(2 / HIDDEN);
  for (let token = 0; token < TOKENS * WIDTH; token += WIDTH) {
    for (let unit = 0; unit < HIDDEN; unit++) {
      let found = 0;
      for (let i = 0; i < WIDTH; i++) found += entering[token + i] * up[unit * WIDTH + i];
      if (found <= 0) continue;
      hidden[(token / WIDTH) * HIDDEN + unit] = found * first;
      for (let i = 0; i < WIDTH; i++) output[token + i] += found * first * second * down[unit * WIDTH + i];
    }
  }
  return { hidden, output };
}

/** A branch, backwards: from the gradient of its output to the gradient of what enters; silent units pass nothing. */
export function branchBackward(gradient, hidden, { up, down }, size) {
  const entering = new Float64Array(TOKENS * WIDTH);
  const first = 1 / Math.sqrt(WIDTH), second = size * Math.sqrt(2 / HIDDEN);
  for (let token = 0; token < TOKENS * WIDTH; token += WIDTH) {
    for (let unit = 0; unit < HIDDEN; unit++) {
      if (hidden[(token / WIDTH) * HIDDEN + unit] <= 0) continue;
      let felt = 0;
      for (let i = 0; i < WIDTH; i++) felt += gradient[token + i] * down[unit * WIDTH + i];
      for (let i = 0; i < WIDTH; i++) entering[token + i] += felt * second * first * up[unit * WIDTH + i];
    }
  }
  return entering;
}

/** Layer normalization without scale and shift, and what its gradient needs: each token's deviation. */
export function normalize(x) {
  const result = new Float64Array(x.length), deviations = [];
  for (let start = 0; start < x.length; start += WIDTH) {
    const token = x.subarray(start, start + WIDTH);
    const mean = token.reduce((a, b) => a + b, 0) / WIDTH;
    const variance = token.reduce((a, b) => a + (b - mean) ** 2, 0) / WIDTH;
    const deviation = Math.sqrt(variance + EPS);
    token.forEach((value, i) => (result[start + i] = (value - mean) / deviation));
    deviations.push(deviation);
  }
  return { result, deviations };
}

/** The gradient before a normalization from that after it: less its mean, less its part along the token, rescaled. */
export function normalizeBack(gradient, { result, deviations }) {
  const back = new Float64Array(gradient.length);
  deviations.forEach((deviation, row) => {
    let mean = 0, along = 0;
    for (let i = row * WIDTH; i < (row + 1) * WIDTH; i++) {
      mean += gradient[i] / WIDTH;
      along += (gradient[i] * result[i]) / WIDTH;
    }
    for (let i = row * WIDTH; i < (row + 1) * WIDTH; i++) back[i] = (gradient[i] - mean - result[i] * along) / deviation;
  });
  return back;
}

const plus = (a, b) => a.map((value, i) => value + b[i]);
const rootMeanSquare = (a) => Math.sqrt(a.reduce((sum, value) => sum + value * value, 0) / a.length);

/**
 * A stack of `depth` branches of one kind, whose result is multiplied by a target and averaged over the tokens.
 * `sizes`: of the stream, before the first branch and after each. `gradients`: the norm of the gradient of each
 * branch's second matrix.
 */
export function runStack(weights, depth, size, kind) {
  let x = normalize(weights.tokens).result;
  const sizes = [rootMeanSquare(x)], passed = [];
  for (let index = 0; index < depth; index++) {
    const before = kind === "pre" ? normalize(x) : { result: x };
    const { hidden, output } = branchForward(before.result, weights.branch(index), size);
    const sum = plus(x, output);
    const after = kind === "post" ? normalize(sum) : { result: sum };
    x = after.result;
    passed.push({ before, hidden, after });
    sizes.push(rootMeanSquare(x));
  }
  let gradient = weights.targets.map((value) => value / Math.sqrt(WIDTH) / TOKENS);
  if (kind === "pre") gradient = normalizeBack(gradient, normalize(x)); // a pre-norm stack ends with a norm
  const gradients = [];
  for (let index = depth - 1; index >= 0; index--) {
    const { before, hidden, after } = passed[index];
    if (kind === "post") gradient = normalizeBack(gradient, after);
    gradients.unshift(outerNorm(hidden, gradient));
    const entering = branchBackward(gradient, hidden, weights.branch(index), size);
    gradient = plus(gradient, kind === "pre" ? normalizeBack(entering, before) : entering);
  }
  return { sizes, gradients };
}

/** The norm of hiddenᵀ · gradient, a matrix (HIDDEN, WIDTH), from the products of the tokens with each other. */
function outerNorm(hidden, gradient) {
  let sum = 0;
  for (let a = 0; a < TOKENS; a++) {
    for (let b = 0; b < TOKENS; b++) {
      const pair = (rows, width) => dot(rows.subarray(a * width, (a + 1) * width), rows.subarray(b * width, (b + 1) * width));
      sum += pair(hidden, HIDDEN) * pair(gradient, WIDTH);
    }
  }
  return Math.sqrt(Math.max(0, sum));
}

/** A positive number in few signs: 0.42, 5.6, 120, 3.1 · 10⁹. */
export function brief(value) {
  if (value >= 0.095 && value < 9995) return value < 9.95 ? value.toFixed(value < 0.995 ? 2 : 1) : value.toFixed(0);
  const [mantissa, exponent] = value.toExponential(1).split("e");
  return `${mantissa} · ${power(Number(exponent))}`;
}

/** A power of ten. */
export function power(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

/** The range and ticks of a logarithmic axis that holds all values: 1, 2, 5, 10, … where few powers of ten suffice. */
export function logAxis(values) {
  const low = Math.min(...values) * 0.95, high = Math.max(...values) * 1.05;
  const marks = [];
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.ceil(Math.log10(high)); exponent++) {
    for (const digit of [1, 2, 5]) marks.push(digit * 10 ** exponent);
  }
  let start = marks.findLastIndex((mark) => mark <= low), end = marks.findIndex((mark) => mark >= high);
  while (end - start < 3) end + 1 < marks.length ? end++ : start--;
  let shown = marks.slice(Math.max(0, start), end + 1);
  if (shown.length > 7) {
    const exponents = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const step = Math.ceil((exponents[1] - exponents[0]) / 6);
    const count = Math.ceil((exponents[1] - exponents[0]) / step);
    const powers = Array.from({ length: count + 1 }, (_, i) => exponents[0] + i * step);
    return { range: [powers[0], powers[count]], ticks: powers.map((e) => [e, Math.abs(e) < 4 ? String(Number(`1e${e}`)) : power(e)]) };
  }
  shown = shown.map((mark) => Number(mark.toPrecision(1)));
  return { range: [Math.log10(shown[0]), Math.log10(shown.at(-1))], ticks: shown.map((mark) => [Math.log10(mark), String(mark)]) };
}

function render({ model, el }) {
  let weights = new Weights(model.get("seed"));
  const labels = { pre: say("pre-norm"), post: say("post-norm"), none: say("no norm") };
  const change = (name) => (value) => keep(model, { [name]: value });
  const depth = slider(say("branches"), range(1, 64), String, change("depth"));
  const size = slider(say("size of each"), range(0.01, 1, 0.01), (value) => number(value), change("branch"));
  const again = button(say("other random weights"), () => change("seed")((model.get("seed") + 1) % 1000));

  const panels = [say("Size of the stream"), say("Gradient of each branch")].map((title) => {
    const panel = chart({ height: 230, below: say("branch") });
    const lines = KINDS.map(({ color, dash }) =>
      make("path", { fill: "none", stroke: color, "stroke-width": 2.4, "stroke-dasharray": dash, "stroke-linejoin": "round" }),
    );
    panel.drawing.append(...lines);
    return { ...panel, title, lines, element: make("div", {}, make("p", { class: "lf-head", text: title }), panel.element), svg: panel.element };
  });

  // A row for each kind: whether it is drawn, and the numbers at the ends of its lines.
  const rows = KINDS.map(({ name, color, dash }) => {
    const box = make("input", {
      type: "checkbox", "aria-label": say("draw {stack}", { stack: labels[name] }),
      onchange: () => change("shown")(KINDS.map((kind) => kind.name).filter((other) => (other === name ? box.checked : model.get("shown").includes(other)))),
    });
    const line = make("line", { x1: 0, x2: 34, y1: 6, y2: 6, stroke: color, "stroke-width": 2.4, "stroke-dasharray": dash });
    const sample = make("svg", { viewBox: "0 0 34 12", width: 34, height: 12, "aria-hidden": "true" }, line);
    const cells = [0, 1, 2].map(() => make("td"));
    const head = make("th", { scope: "row" }, make("label", { class: "lf-tick" }, box, sample, make("span", { text: labels[name] })));
    return { box, cells, row: make("tr", {}, head, ...cells) };
  });
  const head = heads([say("stack"), say("stream, end"), say("gradient, first"), say("gradient, last")]);
  const table = make("table", { class: "lf-table lf-stream-table" }, head, make("tbody", {}, ...rows.map(({ row }) => row)));
  const verdict = make("p", { class: "lf-note", role: "status" });
  frame(
    el,
    controls(say("Controls"), "lf-controls", depth.element, size.element),
    make("div", { class: "lf-halves" }, ...panels.map((panel) => panel.element)),
    table,
    make("div", { class: "lf-row lf-stream-end" }, again, verdict),
  );

  function update() {
    if (weights.seed !== model.get("seed")) weights = new Weights(model.get("seed"));
    const count = model.get("depth"), shown = model.get("shown");
    const runs = KINDS.map(({ name }) => runStack(weights, count, model.get("branch"), name));
    const drawn = runs.filter((_, i) => shown.includes(KINDS[i].name));
    const step = [1, 2, 4, 8, 16].find((candidate) => count / candidate <= 8);
    const xTicks = Array.from({ length: Math.floor(count / step) + 1 }, (_, i) => [i * step, String(i * step)]);
    panels.forEach((panel, which) => {
      const key = which ? "gradients" : "sizes";
      const { range: y, ticks: yTicks } = logAxis(drawn.length ? drawn.flatMap((run) => run[key]) : [1]);
      panel.axes({ x: [0, count], y, xTicks, yTicks });
      runs.forEach((run, i) => {
        const points = run[key].map((value, place) => [place + which, Math.log10(value)]);
        // A single branch has a single gradient: a short stroke.
        if (points.length === 1) points.push([points[0][0] - 0.1, points[0][1]]);
        const visible = shown.includes(KINDS[i].name);
        panel.lines[i].setAttribute("d", visible ? panel.path(points) : "");
      });
      const stacks = runs.map((run, i) =>
        say("{stack} from {first} to {last}", { stack: labels[KINDS[i].name], first: brief(run[key][0]), last: brief(run[key].at(-1)) })).join(", ");
      panel.svg.setAttribute("aria-label", say("{title}, over {count} branches, on a logarithmic scale: {stacks}", { title: panel.title, count, stacks }));
    });
    rows.forEach(({ box, cells }, i) => {
      const { sizes, gradients } = runs[i];
      box.checked = shown.includes(KINDS[i].name);
      [sizes.at(-1), gradients[0], gradients.at(-1)].forEach((value, j) => (cells[j].textContent = brief(value)));
    });
    const [pre, post, none] = runs.map((run) => brief(run.sizes.at(-1)));
    const share = brief(runs[0].gradients.at(-1) / runs[0].gradients[0]);
    verdict.textContent = [
      say("Pre-norm: the stream has grown to {size}, and the last branch gets {share} of the first one’s gradient.", { size: pre, share }),
      say("Post-norm: the stream stays at {size}.", { size: post }),
      say("No norm: it has grown to {size}.", { size: none }),
    ].join(" ");
    depth.show(count);
    size.show(model.get("branch"));
  }
  return follow(model, ["depth", "branch", "seed", "shown"], update);
}

export default figure(render);
