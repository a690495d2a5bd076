// One query, live: drag it, and see scores, weights and output follow.

/** Everything that the figure shows, from its state. */
export function attend({ query, key: keys, value: values, d_k, scaled, temperature, visible }) {
  const scores = keys.map((key) => dot(query, key, d_k) / (scaled ? Math.sqrt(d_k) : 1) / temperature);
  const weights = softmax(scores, visible);
  return { scores, weights, output: blend(weights, values), reaction: reaction(weights) };
}

const SIZE = 300, LOW = -3, HIGH = 7; // the plane, in pixels and in its own units
const place = (value) => ((value - LOW) / (HIGH - LOW)) * SIZE;

function render({ model, el }) {
  const tokens = model.get("tokens"), names = model.get("axes"), valueNames = model.get("value_names");
  const state = () =>
    Object.fromEntries(
      ["query", "key", "value", "d_k", "scaled", "temperature", "visible"].map((name) => [name, model.get(name)]),
    );

  // The plane of the first two numbers of every key, with the query as an arrow.
  const arrow = make("line", { stroke: "var(--lf-query)", "stroke-width": 3, x1: place(0), y1: SIZE - place(0) });
  const handle = make("circle", { r: 11, fill: "var(--lf-query)", "fill-opacity": 0.85, class: "lf-handle" });
  const dots = model.get("key").map((key) =>
    make("circle", { cx: place(key[0]), cy: SIZE - place(key[1]), fill: "var(--lf-key)", "fill-opacity": 0.9 }),
  );
  const labels = labelled(model.get("key"), tokens);
  const plane = make(
    "svg",
    { viewBox: `0 0 ${SIZE} ${SIZE + 22}`, role: "img", style: "width:100%;max-width:340px;touch-action:none" },
    make("line", { x1: 0, x2: SIZE, y1: SIZE - place(0), y2: SIZE - place(0), stroke: "var(--lf-line)" }),
    make("line", { y1: 0, y2: SIZE, x1: place(0), x2: place(0), stroke: "var(--lf-line)" }),
    make("text", { x: SIZE, y: SIZE + 16, "text-anchor": "end", "fill-opacity": 0.75, text: `${names[0]} →` }),
    make("text", { x: place(0) + 6, y: 12, "fill-opacity": 0.75, text: `↑ ${names[1]}` }),
    ...dots, ...labels, arrow, handle,
  );
  function drag(event) {
    const box = plane.getBoundingClientRect(), unit = SIZE / box.width;
    const snapped = (value) => Math.round(Math.min(HIGH, Math.max(LOW, value)) * 10) / 10;
    const x = snapped(LOW + ((event.clientX - box.left) * unit * (HIGH - LOW)) / SIZE);
    const y = snapped(LOW + ((SIZE - (event.clientY - box.top) * unit) * (HIGH - LOW)) / SIZE);
    move([x, y]);
  }
  plane.addEventListener("pointerdown", (event) => {
    plane.setPointerCapture(event.pointerId);
    drag(event);
  });
  plane.addEventListener("pointermove", (event) => plane.hasPointerCapture(event.pointerId) && drag(event));

  // The controls.
  const change = (name) => (value) => keep(model, { [name]: value });
  const move = (start) => change("query")([...start, ...model.get("query").slice(2)]);
  const one = (value) => number(value, 1);
  const across = slider(say("query: {axis}", { axis: names[0] }), range(LOW, HIGH, 0.1), one, (x) => move([x, model.get("query")[1]]));
  const along = slider(say("query: {axis}", { axis: names[1] }), range(LOW, HIGH, 0.1), one, (y) => move([model.get("query")[0], y]));
  const widths = model.get("widths").map(String);
  const width = slider(say("width d_k"), widths.map(Number), String, change("d_k"));
  const warmth = slider(say("temperature"), [0.1, 0.2, 0.5, 1, 2, 5, 10], String, change("temperature"));
  const root = tick(say("divide by √d_k"), change("scaled"));

  // A row for each key: score, weight, and whether it may be seen.
  const rows = tokens.map((token, i) => {
    const seen = make("input", {
      type: "checkbox", "aria-label": say("{token} may be seen", { token }),
      onchange: () => change("visible")(model.get("visible").map((old, j) => (i === j ? seen.checked : old))),
    });
    const score = make("td"), weight = make("td");
    const bar = make("span", { class: "lf-bar", style: "background:var(--lf-query)" });
    const barCell = make("td", { style: "width:45%" }, bar);
    const head = make("th", { scope: "row", text: token, lang: model.get("language") });
    return { seen, score, weight, bar, row: make("tr", {}, make("td", {}, seen), head, score, weight, barCell) };
  });
  const head = heads([say("seen"), say("key"), say("score"), say("weight"), ""]);
  head.querySelector("th:last-child").setAttribute("aria-hidden", "true");
  const table = make("table", { class: "lf-table" }, head, make("tbody", {}, ...rows.map((r) => r.row)));

  const outputs = valueNames.map((name) => {
    const shown = make("output", { class: "lf-number" }), bar = make("span", { class: "lf-bar", style: "background:var(--lf-output)" });
    return { shown, bar, element: make("div", { class: "lf-row" }, make("span", { text: name, style: "min-width:6em" }), shown, bar) };
  });
  const feeling = make("output", { class: "lf-number" });
  const feelingBar = make("span", { class: "lf-bar", style: "background:var(--lf-muted)" });
  const verdict = make("p", { class: "lf-note", role: "status" });

  frame(
    el,
    controls(say("Controls"), "lf-controls", across.element, along.element, width.element, warmth.element, root.element),
    make("div", { class: "lf-panels", style: "margin-top:0.8rem" },
      make("div", {}, plane),
      make("div", {}, table,
        make("div", { style: "margin-top:0.7rem" }, ...outputs.map((o) => o.element)),
        make("div", { class: "lf-row" }, make("span", { text: say("reaction"), style: "min-width:6em" }), feeling, feelingBar),
        verdict)),
  );

  function update() {
    const now = state(), { scores, weights, output, reaction: felt } = attend(now);
    const [x, y] = now.query;
    set(arrow, { x2: place(x), y2: SIZE - place(y) });
    set(handle, { cx: place(x), cy: SIZE - place(y) });
    const largest = weights.indexOf(Math.max(...weights));
    const at = { across: names[0], x: one(x), along: names[1], y: one(y) };
    set(plane, { "aria-label": say("The keys as points, the query as an arrow to {across} {x}, {along} {y}", at) });
    rows.forEach((row, i) => {
      row.seen.checked = now.visible[i];
      row.score.textContent = number(scores[i]);
      row.weight.textContent = number(weights[i]);
      row.bar.style.width = `${100 * weights[i]}%`;
      row.row.style.opacity = now.visible[i] ? 1 : 0.55;
      dots[i].setAttribute("r", 4 + 9 * Math.sqrt(weights[i]));
    });
    outputs.forEach((one, i) => {
      one.shown.textContent = number(output[i]);
      one.bar.style.width = `${8 * Math.max(0, output[i])}rem`;
    });
    feeling.textContent = number(felt);
    feelingBar.style.width = `${8 * Math.min(1, felt)}rem`;
    const seen = now.visible.some(Boolean);
    const told = [say("{token} gets {weight} of the weight.", { token: tokens[largest], weight: number(weights[largest]) })];
    if (felt < 0.05) told.push(say("The softmax hardly reacts any more: its gradient is nearly zero."));
    else told.push(say("The softmax still reacts to its scores."));
    verdict.textContent = seen ? told.join(" ") : say("Nothing may be seen: the output is zero.");
    across.show(x);
    along.show(y);
    width.show(now.d_k);
    warmth.show(now.temperature);
    root.input.checked = now.scaled;
    keep(model, { weights, output });
  }
  return follow(model, ["query", "d_k", "scaled", "temperature", "visible"], update);
}

/** Labels of the keys, those of one place together: right of the dot or, where it would cover another, above. */
function labelled(keys, tokens) {
  const places = new Map();
  keys.forEach(([x, y], i) => {
    const near = [...places.keys()].find((at) => Math.hypot(at[0] - x, at[1] - y) < 0.4);
    near ? places.get(near).push(tokens[i]) : places.set([x, y], [tokens[i]]);
  });
  const box = (left, right, base) => ({ left, right, top: base - 11, base });
  const taken = [...places.keys()].map(([x, y]) => box(place(x) - 5, place(x) + 5, SIZE - place(y) + 5));
  const free = (one) =>
    !taken.some((other) => one.left < other.right && other.left < one.right && one.top < other.base && other.top < one.base);
  return [...places].map(([[x, y], words]) => {
    const text = words.join(", "), width = 7.2 * text.length, beside = place(x) + 15;
    const left = Math.max(2, Math.min(place(x) - 4, SIZE - width));
    let label = box(beside, beside + width, SIZE - place(y) + 4);
    for (let base = SIZE - place(y) - 16; label.right > SIZE || !free(label); base -= 14) {
      label = box(left, Math.min(left + width, SIZE), base);
    }
    taken.push(label);
    return make("text", { x: label.left, y: label.base, text, "pointer-events": "none" });
  });
}

export default figure(render);
