// Positions: the waves that are added to tokens, and the turns that rotary positions give to queries and keys.

/** The angle of pair `pair` of `width` numbers at a position. */
export function angleAt(position, pair, width) {
  return position * 10000 ** ((-2 * pair) / width);
}

/** One row of the sinusoidal table: sine and cosine side by side. */
export function wave(position, width) {
  return Array.from({ length: width }, (_, i) => {
    const angle = angleAt(position, Math.floor(i / 2), width);
    return i % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

/** The dot product of a row of the table with each of its rows. */
export function alike(table, position) {
  return table.map((row) => dot(row, table[position]));
}

/** A query or key with each of its pairs (0, 1), (2, 3), … turned by its position. */
export function turn(vector, position) {
  const turned = [];
  for (let i = 0; i < vector.length; i += 2) {
    const angle = angleAt(position, i / 2, vector.length), cos = Math.cos(angle), sin = Math.sin(angle);
    turned.push(vector[i] * cos - vector[i + 1] * sin, vector[i] * sin + vector[i + 1] * cos);
  }
  return turned;
}

/** What each pair gives to the score of a turned query and a turned key. */
export function pairProducts(query, key, queryAt, keyAt) {
  const q = turn(query, queryAt), k = turn(key, keyAt);
  return Array.from({ length: q.length / 2 }, (_, i) => q[2 * i] * k[2 * i] + q[2 * i + 1] * k[2 * i + 1]);
}

const sumOf = (numbers) => numbers.reduce((a, b) => a + b, 0);
const upTo = (count) => range(0, count - 1);

/** Ticks at round numbers between two ends. */
function rounded(low, high, most = 6) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((candidate) => (high - low) / candidate <= most);
  const first = Math.ceil(low / step), last = Math.floor(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => [(first + i) * step, number((first + i) * step, 0)]);
}

/** A dot and a dotted upright line at what is chosen now. */
function marker(panel, color) {
  const line = make("line", { y1: panel.box.top, y2: panel.box.bottom, stroke: "var(--lf-muted)", "stroke-dasharray": "2 3" });
  const point = make("circle", { r: 5, fill: color });
  panel.drawing.append(line, point);
  return (x, y) => {
    set(line, { x1: panel.x(x), x2: panel.x(x) });
    set(point, { cx: panel.x(x), cy: panel.y(y) });
  };
}

const headed = (title, ...children) => make("div", {}, make("p", { class: "lf-head", text: title }), ...children);

/** Waves: the table with a row chosen, the row as a curve, and its dot products with all rows. */
function wavesPart(model, change) {
  const length = model.get("length"), width = model.get("d_model");
  const table = upTo(length).map((position) => wave(position, width));
  const slide = slider(say("position"), upTo(length), String, change("position"));
  const centered = tick(say("draw over the distance"), change("by_distance"));

  // The table. Cells of about the same number are one path.
  const map = chart({ width: 290, height: 392, left: 30, below: say("column") });
  map.axes({ x: [0, width], y: [length, 0], xTicks: [], yTicks: [] });
  const LEVELS = 10, levels = new Map();
  table.forEach((row, p) => row.forEach((value, column) => {
    const level = Math.round(value * LEVELS);
    const cell = `M${map.x(column).toFixed(2)} ${map.y(p).toFixed(2)}H${map.x(column + 1).toFixed(2)}V${map.y(p + 1).toFixed(2)}H${map.x(column).toFixed(2)}Z`;
    levels.set(level, (levels.get(level) ?? "") + cell);
  }));
  const cells = [...levels].filter(([level]) => level).map(([level, d]) =>
    make("path", { d, fill: level > 0 ? "var(--lf-plus)" : "var(--lf-minus)", "fill-opacity": Math.abs(level) / LEVELS, "shape-rendering": "crispEdges" }),
  );
  const row = make("rect", { x: map.x(0) - 2, width: map.x(width) - map.x(0) + 4, fill: "none", stroke: "var(--lf-text)", "stroke-width": 2, rx: 2 });
  const rowLabels = rounded(0, length - 1).map(([value, text]) => make("text", { x: map.box.left - 6, y: map.y(value + 0.5) + 4, "text-anchor": "end", text }));
  const columnLabels = rounded(0, width - 1, 8).map(([value, text]) => make("text", { x: map.x(value + 0.5), y: map.box.bottom + 17, "text-anchor": "middle", text }));
  map.drawing.append(...cells, row, ...rowLabels, ...columnLabels);
  map.element.classList.add("lf-waves");
  const choose = (event) => {
    const box = map.element.getBoundingClientRect(), y = ((event.clientY - box.top) / box.width) * 290;
    const position = Math.floor(((y - map.box.top) / (map.box.bottom - map.box.top)) * length);
    change("position")(Math.max(0, Math.min(length - 1, position)));
  };
  map.element.addEventListener("pointerdown", (event) => {
    map.element.setPointerCapture(event.pointerId);
    choose(event);
  });
  map.element.addEventListener("pointermove", (event) => map.element.hasPointerCapture(event.pointerId) && choose(event));

  const numbers = chart({ width: 410, height: 150, below: say("column") });
  numbers.axes({ x: [-0.5, width - 0.5], y: [-1.15, 1.15], xTicks: rounded(0, width - 1, 8), yTicks: [[-1, "−1"], [0, "0"], [1, "1"]] });
  const curve = make("path", { fill: "none", stroke: "var(--lf-muted)", "stroke-width": 1.5 });
  const dots = upTo(width).map((column) => make("circle", { r: 3.5, cx: numbers.x(column) }));
  numbers.drawing.append(curve, ...dots);

  const profile = chart({ width: 410, height: 205, below: say("position") });
  const below = profile.element.lastChild;
  const whole = make("path", { fill: "none", stroke: "var(--lf-line)", "stroke-width": 2 });
  const products = make("path", { fill: "none", stroke: "var(--lf-query)", "stroke-width": 2.4 });
  profile.drawing.append(whole, products);
  const mark = marker(profile, "var(--lf-query)");
  // The product over all distances, from the widest table that this one is a part of.
  const shape = upTo(2 * length - 1).map((i) => [i - length + 1, sumOf(upTo(width / 2).map((pair) => Math.cos(angleAt(i - length + 1, pair, width))))]);
  const lowest = Math.min(0, Math.floor(Math.min(...shape.map(([, product]) => product))));

  const rowHead = make("p", { class: "lf-head" }), profileHead = make("p", { class: "lf-head" });
  const verdict = make("p", { class: "lf-note", role: "status" });
  const element = make("div", {},
    controls(say("Controls of the waves"), "lf-controls", slide.element, centered.element),
    make("div", { class: "lf-positions" },
      headed(say("The table: {length} positions, {width} columns", { length, width }), map.element),
      make("div", {}, rowHead, numbers.element, profileHead, profile.element)),
    verdict);

  function update() {
    const position = model.get("position"), byDistance = model.get("by_distance"), now = table[position];
    const offset = byDistance ? position : 0, all = alike(table, position);
    set(row, { y: map.y(position) - 1.5, height: map.y(position + 1) - map.y(position) + 3 });
    curve.setAttribute("d", numbers.path(now.map((value, column) => [column, value])));
    dots.forEach((dot, column) => set(dot, { cy: numbers.y(now[column]), fill: now[column] < 0 ? "var(--lf-minus)" : "var(--lf-plus)" }));
    const x = byDistance ? [-(length - 1), length - 1] : [0, length - 1];
    profile.axes({ x, y: [lowest, width / 2 + 1], xTicks: rounded(...x, 8), yTicks: upTo(5).map((i) => [(i * width) / 8, String((i * width) / 8)]) });
    below.textContent = byDistance ? say("distance from position {position}", { position }) : say("position");
    whole.setAttribute("d", byDistance ? profile.path(shape) : "");
    products.setAttribute("d", profile.path(all.map((product, other) => [other - offset, product])));
    mark(position - offset, all[position]);
    rowHead.textContent = say("Row {position}: its {width} numbers", { position, width });
    profileHead.textContent = say("The dot product of row {position} with every row", { position });
    set(map.element, { "aria-label": [
      say("The table of waves as a heat map: the columns on the left change quickly from row to row, those on the right hardly."),
      say("Row {position} is marked.", { position }),
    ].join(" ") });
    const first = now.slice(0, 4).map((value) => number(value)).join(", ");
    set(numbers.element, { "aria-label": say("The numbers of row {position}: {first} and so on", { position, first }) });
    const told = [3, 10].map((distance) => {
      const beside = [position - distance, position + distance].filter((other) => other >= 0 && other < length);
      const [row, other] = beside, product = beside.length && number(all[row]);
      if (beside.length > 1) return say("With rows {row} and {other}, {distance} places away: {product}.", { row, other, distance, product });
      return beside.length ? say("With row {row}, {distance} places away: {product}.", { row, distance, product }) : "";
    });
    const itself = say("Row {position} with itself: {product}.", { position, product: number(all[position]) });
    verdict.textContent = [itself, ...told.filter(Boolean)].join(" ");
    set(profile.element, { "aria-label": say("The dot product of row {position} with every row: a peak at {position} that falls equally on both sides", { position }) });
    slide.show(position);
    centered.input.checked = byDistance;
  }
  return { element, update };
}

/** An arrow from the middle of a circle. Returns its element and a function that turns it. */
function arrowOf(letter, color, dash) {
  const line = make("line", { stroke: color, "stroke-width": 3, "stroke-dasharray": dash });
  const head = make("polygon", { fill: color });
  const name = make("text", { "text-anchor": "middle", style: `fill:${color};font-weight:600`, text: letter });
  /** `side`: 0 puts the letter beyond the tip, 1 and −1 put it beside the tip. */
  function show(x, y, side = 0) {
    const length = Math.hypot(x, y) || 1, [ux, uy] = [x / length, y / length], size = Math.min(11, 0.6 * length);
    const [bx, by] = [x - ux * size, y - uy * size], half = 0.45 * size;
    set(line, { x1: 0, y1: 0, x2: bx, y2: -by });
    const corners = [[x, y], [bx - uy * half, by + ux * half], [bx + uy * half, by - ux * half]];
    head.setAttribute("points", corners.map(([a, b]) => `${a.toFixed(2)},${(-b).toFixed(2)}`).join(" "));
    const [ahead, aside] = side ? [-2, 13 * side] : [13, 0];
    set(name, { x: x + ahead * ux - aside * uy, y: -(y + ahead * uy + aside * ux) + 4.5 });
  }
  return { element: make("g", {}, line, head, name), show };
}

/** Rotary: each pair of numbers an arrow in its circle; the score is the sum of the pairs' dot products. */
function rotaryPart(model, change) {
  const length = model.get("length"), query = model.get("query"), key = model.get("key");
  const pairs = upTo(query.length / 2), width = query.length;
  const size = (vector, pair) => Math.hypot(vector[2 * pair], vector[2 * pair + 1]);
  const longest = Math.max(...pairs.flatMap((pair) => [size(query, pair), size(key, pair)])) || 1;
  const unit = 56 / longest;

  let last = null;
  function move(name, other) {
    return (value) => {
      const by = value - model.get(name), also = model.get(other) + by;
      if (!model.get("together")) return change(name)(value);
      // Both stop where one of them reaches an end.
      const allowed = also < 0 ? by - also : also > length - 1 ? by - (also - length + 1) : by;
      keep(model, { [name]: model.get(name) + allowed, [other]: model.get(other) + allowed });
      show();
    };
  }
  const asks = slider(say("query at"), upTo(length), String, move("query_at", "key_at"));
  const asked = slider(say("key at"), upTo(length), String, move("key_at", "query_at"));
  const together = tick(say("move both together"), change("together"));
  function show() {
    asks.show(model.get("query_at"));
    asked.show(model.get("key_at"));
  }

  const cards = pairs.map((pair) => {
    const circles = [[query, "var(--lf-query)"], [key, "var(--lf-key)"]].map(([vector, stroke]) =>
      make("circle", { r: size(vector, pair) * unit, fill: "none", stroke, "stroke-opacity": 0.3 }));
    const arc = make("path", { fill: "var(--lf-muted)", "fill-opacity": 0.18 });
    const q = arrowOf("q", "var(--lf-query)", "none"), k = arrowOf("k", "var(--lf-key)", "6 3");
    const picture = make("svg", { viewBox: "-76 -76 152 152", role: "img", class: "lf-chart" }, ...circles, arc, k.element, q.element);
    const between = make("span"), product = make("span", { class: "lf-product" });
    const step = (angleAt(1, pair, width) * 180) / Math.PI;
    const head = make("p", { class: "lf-head", text: say("Pair {pair}: {angle}° a place", { pair, angle: number(step, step >= 1 ? 1 : 2) }) });
    const element = make("div", { class: "lf-pair" }, head, picture,
      make("p", {}, ...spread("angle between {angle}", { angle: between })),
      make("p", {}, ...spread("dot product {product}", { product })));
    return { element, arc, q, k, picture, between, product };
  });
  const total = make("strong"), sum = make("span", {});
  const score = make("p", { class: "lf-score" }, ...spread("score = {sum} = {total}", { sum, total }));

  const [profile, narrow] = [730, 350].map((width) => chart({ width, height: 160, below: say("distance: query’s place minus key’s") }));
  const scores = upTo(2 * length - 1).map((i) => [i - length + 1, sumOf(pairProducts(query, key, i - length + 1, 0))]);
  const reached = scores.map(([, one]) => one), room = 0.1 * Math.max(...reached.map(Math.abs), 0.1);
  const y = [Math.min(0, ...reached) - room, Math.max(0, ...reached) + room];
  const marks = [profile, narrow].map((panel) => {
    const x = [-(length - 1), length - 1];
    panel.axes({ x, y, xTicks: rounded(...x, 8), yTicks: rounded(...y, 5) });
    panel.drawing.append(make("path", { d: panel.path(scores), fill: "none", stroke: "var(--lf-output)", "stroke-width": 1.8 }));
    return marker(panel, "var(--lf-output)");
  });
  profile.element.classList.add("lf-wide-only");
  narrow.element.classList.add("lf-phone-only");
  const verdict = make("p", { class: "lf-note", role: "status" });
  const element = make("div", {},
    controls(say("Controls of rotary positions"), "lf-controls", asks.element, asked.element, together.element),
    make("div", { class: "lf-pairs" }, ...cards.map((card) => card.element)),
    score,
    headed(say("The score at every distance"), profile.element, narrow.element),
    verdict);

  function update() {
    const m = model.get("query_at"), n = model.get("key_at");
    const q = turn(query, m), k = turn(key, n), products = pairProducts(query, key, m, n);
    cards.forEach((card, pair) => {
      const [qx, qy, kx, ky] = [q[2 * pair], q[2 * pair + 1], k[2 * pair], k[2 * pair + 1]];
      const from = Math.atan2(ky, kx), to = Math.atan2(qy, qx);
      const angle = Math.atan2(Math.sin(to - from), Math.cos(to - from)); // the shorter way round
      const keyIsShorter = size(key, pair) < size(query, pair), away = angle > 0 ? -1 : 1;
      card.q.show(qx * unit, qy * unit, keyIsShorter ? 0 : -away);
      card.k.show(kx * unit, ky * unit, keyIsShorter ? away : 0);
      const radius = 18, at = (a) => `${(radius * Math.cos(a)).toFixed(2)} ${(-radius * Math.sin(a)).toFixed(2)}`;
      card.arc.setAttribute("d", `M0 0L${at(from)}A${radius} ${radius} 0 0 ${angle > 0 ? 0 : 1} ${at(from + angle)}Z`);
      const degrees = (radians) => `${number((radians * 180) / Math.PI, 0)}°`;
      card.between.textContent = degrees(Math.abs(angle));
      card.product.textContent = number(products[pair]);
      const arrows = { pair, query: degrees(to), key: degrees(from) };
      set(card.picture, { "aria-label": say("Pair {pair}: the query’s arrow points to {query}, the key’s to {key}", arrows) });
    });
    sum.textContent = products.map((value, i) => (i ? ` ${value < -0.005 ? "−" : "+"} ${number(Math.abs(value))}` : number(value))).join("");
    const at = { query: m, key: n, distance: number(m - n, 0), score: number(sumOf(products)) };
    const ends = { low: number(1 - length, 0), high: length - 1, distance: at.distance, score: at.score };
    total.textContent = at.score;
    marks.forEach((mark) => mark(m - n, sumOf(products)));
    [profile, narrow].forEach((panel) => set(panel.element, { "aria-label": say("The score over the distance from {low} to {high}, a sum of waves; at the distance {distance} it is {score}", ends) }));
    const moved = last && last.m !== m && last.m - last.n === m - n;
    const told = [say("Query at {query}, key at {key}: distance {distance}, score {score}.", at)];
    if (moved) told.push(say("Both have moved: all arrows have turned, the angles between them and the score are as before."));
    verdict.textContent = told.join(" ");
    last = { m, n };
    show();
    together.input.checked = model.get("together");
  }
  return { element, update };
}

function render({ model, el }) {
  const change = (name) => (value) => keep(model, { [name]: value });
  const parts = { waves: wavesPart(model, change), rotary: rotaryPart(model, change) };
  const names = { waves: say("Added waves"), rotary: say("Turned arrows") };
  const buttons = Object.keys(parts).map((name) => button(names[name], () => change("part")(name), "lf-part"));
  const choice = controls(say("Scheme"), "lf-parts", ...buttons);
  choice.hidden = !model.get("tabs");
  frame(el, choice, parts.waves.element, parts.rotary.element);

  function update() {
    Object.entries(parts).forEach(([name, part], i) => {
      const shown = name === model.get("part");
      part.element.hidden = !shown;
      buttons[i].setAttribute("aria-pressed", String(shown));
      if (shown) part.update();
    });
  }
  return follow(model, ["part", "position", "by_distance", "query_at", "key_at", "together"], update);
}

export default figure(render);
