// Two columns of tokens and a line for each weight; an overview of all heads to choose from.

const ROW = 30; // pixels for a token
const LEAST = 0.005; // what would be shown as 0.00 is left out

/** The weights that a chosen token gives (a query) or gets (a key); null if none is chosen. */
export function given(weights, { query, key }) {
  if (query !== null) return weights[query];
  return key !== null ? weights.map((row) => row[key]) : null;
}

/** The places of the largest numbers, the largest first; none that would be shown as 0.00. */
export function largest(numbers, count) {
  const order = numbers.map((_, i) => i).filter((i) => numbers[i] >= LEAST);
  return order.sort((a, b) => numbers[b] - numbers[a] || a - b).slice(0, count);
}

let headViews = 0; // each has radio buttons with names of their own

function render({ model, el }) {
  const layers = model.get("layers"), name = `lf-heads-${headViews++}`;
  const language = model.get("language");
  const now = () => layers[model.get("layer")];
  const choose = (values) => keep(model, values);

  // All heads, a small map each.
  const maps = layers.map((one, layer) =>
    one.weights.map((weights, head) => {
      const input = make("input", {
        type: "radio", name: `${name}-map`, "aria-label": say("{layer}: head {head}", { layer: one.name, head }),
        onchange: () => choose({ layer, head, ...(same(one, now()) ? {} : { query: null, key: null }) }),
      });
      return { input, element: make("label", { class: "lf-thumb" }, input, thumbnail(weights), make("span", { text: head, "aria-hidden": "true" })) };
    }),
  );
  const overview = make("div", { role: "radiogroup", "aria-label": say("Heads") },
    ...layers.flatMap((one, layer) => [
      make("p", { class: "lf-head", text: one.name }),
      make("div", { class: "lf-thumbs" }, ...maps[layer].map((map) => map.element)),
    ]));

  // The tokens and the lines between them, made anew for another layer.
  const title = make("p", { class: "lf-head" });
  const all = button(say("all words"), () => choose({ query: null, key: null }), "lf-button lf-small");
  const columns = make("div", { class: "lf-columns" });
  const told = make("p", { class: "lf-note", role: "status", style: "min-height:2.8em" });
  frame(el, make("div", { class: "lf-heads" }, overview,
    make("div", {}, make("div", { class: "lf-row lf-between" }, title, all), columns, told)));

  let drawn = null, sides, lines, hovered = null; // hovered: what the mouse is over counts before what is chosen
  function token(side, place, word) {
    const input = make("input", {
      type: "radio", name: `${name}-token`, "aria-label": side === "query" ? say("query {word}", { word }) : say("key {word}", { word }),
      onchange: () => choose({ query: null, key: null, [side]: place }),
      // A click on the chosen token takes the choice back.
      onclick: () => { if (element.classList.contains("chosen")) choose({ query: null, key: null }); },
    });
    const shown = make("span", { class: "lf-number" });
    const text = make("span", { class: "lf-word", text: word, lang: language });
    const element = make("label", {
      class: `lf-side-${side}`,
      onpointerenter: (event) => event.pointerType === "mouse" && hover({ query: null, key: null, [side]: place }),
      onpointerleave: () => hover(null),
    }, input, ...(side === "query" ? [shown, text] : [text, shown]));
    return { input, shown, text, element };
  }
  function hover(token) {
    hovered = token;
    update();
  }
  function draw() {
    drawn = now();
    sides = {
      query: drawn.queries.map((word, i) => token("query", i, word)),
      key: drawn.keys.map((word, i) => token("key", i, word)),
    };
    const height = ROW * Math.max(drawn.queries.length, drawn.keys.length);
    const y = (place) => ROW * (place + 0.5);
    lines = drawn.queries.map((_, i) => drawn.keys.map((_, j) =>
      make("path", { d: `M0 ${y(i)}C40 ${y(i)} 60 ${y(j)} 100 ${y(j)}` })));
    const column = (side, text) => make("div", { role: "radiogroup", "aria-label": text },
      make("p", { class: `lf-title-${side}`, text }), ...sides[side].map((one) => one.element));
    columns.replaceChildren(
      column("query", say("queries")),
      make("svg", { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", style: `height:${height}px;margin-top:${ROW}px`, "aria-hidden": "true", class: "lf-lines" }, ...lines.flat()),
      column("key", say("keys")),
    );
  }

  function update() {
    const layer = now(), head = Math.min(model.get("head"), layer.weights.length - 1), weights = layer.weights[head];
    if (layer !== drawn) draw();
    maps.forEach((row, i) => row.forEach((map, j) => (map.input.checked = i === model.get("layer") && j === head)));
    const chosen = { query: model.get("query"), key: model.get("key") }, seen = hovered ?? chosen;
    const shares = given(weights, seen);
    for (const [side, other] of [["query", "key"], ["key", "query"]]) {
      sides[side].forEach((token, place) => {
        token.input.checked = chosen[side] === place;
        token.element.classList.toggle("chosen", chosen[side] === place);
        token.element.classList.toggle("seen", seen[side] === place);
        const share = seen[other] !== null ? shares[place] : null;
        token.shown.textContent = share >= LEAST ? number(share) : "";
        token.text.style.setProperty("--weight", share ?? 0);
      });
    }
    lines.forEach((row, i) => row.forEach((line, j) => {
      const weight = weights[i][j], away = (seen.query ?? i) !== i || (seen.key ?? j) !== j;
      const visible = weight >= LEAST && !away;
      set(line, { "stroke-width": visible ? 0.6 + 5 * weight : 0, "stroke-opacity": visible ? 0.12 + 0.88 * weight : 0 });
    }));
    title.textContent = say("{layer}, head {head}", { layer: layer.name, head });
    all.disabled = chosen.query === null && chosen.key === null;
    told.textContent = inWords(layer, weights, seen, shares);
  }

  function inWords({ queries, keys }, weights, { query, key }, shares) {
    const list = (words) => largest(shares, 3).map((i) => `${words[i]} ${number(shares[i])}`).join(", ");
    if (query !== null) {
      const word = queries[query], words = list(keys);
      return words ? say("“{word}” looks at: {words}.", { word, words }) : say("“{word}” may look at nothing.", { word });
    }
    if (key !== null) {
      const word = keys[key], total = shares.reduce((a, b) => a + b, 0);
      if (total <= 0) return say("Nothing looks at “{word}”.", { word });
      return say("“{word}” gets {total} in all; most of it from: {words}.", { word, total: number(total), words: list(queries) });
    }
    const [place] = largest(weights.flat(), 1);
    if (place === undefined) return say("No word may look at any other.");
    const from = Math.floor(place / keys.length), to = place % keys.length;
    const line = { from: queries[from], to: keys[to], weight: number(weights[from][to]) };
    return [say("The strongest line runs from “{from}” to “{to}”: {weight}.", line), say("Choose a word to see its numbers.")].join(" ");
  }

  return follow(model, ["layer", "head", "query", "key"], update);
}

/** Whether two layers have the same words on both sides, so that a choice can stay. */
function same(a, b) {
  return JSON.stringify([a.queries, a.keys]) === JSON.stringify([b.queries, b.keys]);
}

/** A map of weights, a dot of color each: the same blue on both grounds. */
function thumbnail(weights) {
  const height = weights.length, width = weights[0].length;
  const canvas = make("canvas", { width, height, "aria-hidden": "true" });
  canvas.style.height = `${1.6 * Math.min(1, Math.max(height / width, 0.25))}rem`;
  const pen = canvas.getContext("2d");
  weights.forEach((row, i) => row.forEach((weight, j) => {
    pen.fillStyle = `rgba(45, 135, 200, ${weight})`;
    pen.fillRect(j, i, 1, 1);
  }));
  return canvas;
}

export default figure(render);
