// The whole Transformer as a map: open a block, change a size, follow a token.

/** The numbers that a block of one layer learns, and the formula. `tied` blocks share the embedding's. */
export function learned(kind, { d_model, d_ff, vocab_size }) {
  const attention = 4 * (d_model * d_model + d_model), norm = 2 * d_model;
  const feed = 2 * d_model * d_ff + d_ff + d_model;
  return {
    none: 0, tied: 0, norm, attention,
    "feed-forward": feed,
    embedding: vocab_size * d_model,
    encoder: attention + feed + 2 * norm,
    decoder: 2 * attention + feed + 3 * norm,
  }[kind];
}

const formulas = () => ({
  none: say("nothing to learn"),
  tied: say("none of its own: the embedding’s matrix"),
  norm: "2 × d_model",
  attention: "4 × (d_model² + d_model)",
  "feed-forward": "2 × d_model × d_ff + d_ff + d_model",
  embedding: "vocab_size × d_model",
  encoder: say("1 attention, 1 feed-forward, 2 norms"),
  decoder: say("2 attentions, 1 feed-forward, 3 norms"),
});

/** How many parameters the model has: of each kind, and in all. */
export function census(sizes) {
  const layers = sizes.n_layers, one = (kind) => learned(kind, sizes);
  const parts = {
    embedding: one("embedding"),
    attention: 3 * layers * one("attention"),
    "feed-forward": 2 * layers * one("feed-forward"),
    norms: 5 * layers * one("norm"),
  };
  return { parts, total: Object.values(parts).reduce((a, b) => a + b, 0) };
}

/** A shape's numbers: `["source", "d_model"]` → `[8, 512]`. */
export function shapeOf(names, dimensions) {
  return names.map((name) => dimensions[name]);
}

const SIZES = ["d_model", "n_heads", "d_ff", "n_layers", "vocab_size"];
const MAP = { width: 348, height: 514 };
const grouped = (value) => value.toLocaleString("en-US");

function render({ model, el }) {
  const blocks = model.get("blocks"), chapters = model.get("chapters"), choices = model.get("choices");
  const source = model.get("source_tokens"), target = model.get("target_tokens"), [from, to] = model.get("follow");
  const route = blocks.filter((block) => block.walk).map((block) => block.id);
  const byId = Object.fromEntries(blocks.map((block) => [block.id, block]));
  const sizes = () => Object.fromEntries(SIZES.map((name) => [name, model.get(name)]));
  const dimensions = () => ({ ...sizes(), d_head: model.get("d_model") / model.get("n_heads"), source: source.length, target: target.length });
  const parts = { embedding: say("embedding"), attention: say("attention"), "feed-forward": say("feed-forward"), norms: say("norms") };
  const axes = { n_heads: say("heads"), vocab_size: say("vocab"), source: say("source"), target: say("target") };
  const formula = formulas();
  /** What fills the holes of the blocks' sentences. */
  const holes = () => {
    const numbers = Object.entries(dimensions()).map(([name, size]) => [name, grouped(size)]);
    return { ...Object.fromEntries(numbers), word: source[from], given: target[to], next: target[to + 1] };
  };
  const choose = (id) => keep(model, { chosen: id });
  const go = (step) => {
    const next = Math.max(0, Math.min(route.length, step));
    keep(model, next ? { step: next, chosen: route[next - 1] } : { step: next });
  };

  // The drawing: arrows below, buttons above.
  const paths = model.get("paths").map(({ points, into, kind }) => {
    const line = make("path", { d: `M ${points.map((point) => point.join(" ")).join(" L ")}`, class: `lf-wire lf-wire-${kind}` });
    const [[x0, y0], [x, y]] = points.slice(-2);
    const head = y0 === y ? (x > x0 ? [[-7, -4], [-7, 4]] : [[7, -4], [7, 4]]) : [[-4, 7], [4, 7]];
    const tip = make("polygon", { points: [[x, y], ...head.map(([a, b]) => [x + a, y + b])].join(" "), class: `lf-tip lf-wire-${kind}` });
    return { into, parts: [line, tip] };
  });
  const stacks = [[4, 218], [180, 126]].map(([x, y]) => make("rect", { x, y, width: 164, height: 406 - y, rx: 6, class: "lf-stack" }));
  const wires = make("svg", { viewBox: `0 0 ${MAP.width} ${MAP.height}`, "aria-hidden": "true" },
    ...stacks, ...paths.flatMap((path) => path.parts), make("text", { x: 168, y: 201, "text-anchor": "end", class: "lf-memory", text: say("memory") }));
  const percent = (value, whole) => `${(100 * value) / whole}%`;
  const put = (element, [x, y, w, h]) => {
    Object.assign(element.style, { left: percent(x, MAP.width), top: percent(y, MAP.height), width: percent(w, MAP.width), height: percent(h, MAP.height) });
    return element;
  };
  const buttons = Object.fromEntries(blocks.map((block) => {
    const side = /^(source|encoder)/.test(block.id) ? "encoder" : "decoder";
    const whole = /layer$/.test(block.id);
    const one = button("", () => choose(block.id), `lf-block lf-block-${whole ? "layer" : block.kind}`);
    if (block.id === "cross-attention") one.classList.add("lf-block-cross");
    return [block.id, { block, side, button: put(one, block.box) }];
  }));
  const near = (words, place, lang, box) => {
    const first = Math.max(0, place - 1), cut = words.slice(first, place + 2);
    const spans = cut.map((word, i) => make(first + i === place ? "strong" : "span", { text: word, lang }));
    return put(make("p", { class: "lf-words" }, first ? "… " : "", ...spans.flatMap((span) => [span, " "]), place + 2 < words.length ? "…" : ""), box);
  };
  const token = make("span", { class: "lf-walker", "aria-hidden": "true" });
  const total = make("strong", { class: "lf-total" });
  const bars = Object.entries(parts).map(([part, name]) => {
    const share = make("span", { class: "lf-share" }), bar = make("span", { class: `lf-bar lf-bar-${part}` });
    return { part, share, bar, row: make("div", { class: "lf-count" }, make("span", { text: name }), share, make("span", { class: "lf-rail" }, bar)) };
  });
  const counts = put(make("div", { class: "lf-counts" }, total, make("span", { text: say("parameters in all") }), ...bars.map((bar) => bar.row)), [0, 0, 168, 184]);
  const map = make("div", { class: "lf-map", role: "toolbar", "aria-label": say("The Transformer, from below to above") },
    wires, counts,
    near(source, from, model.get("language"), [0, 494, 172, 20]),
    ...Object.values(buttons).map((one) => one.button),
    near(target, to, model.get("target_language"), [176, 494, 172, 20]),
    put(make("p", { class: "lf-words lf-said", lang: model.get("target_language"), text: target[to + 1] }), [196, 0, 132, 18]), token);
  const reach = walk(map, { upwards: true });

  // The walk.
  const press = (text, where) => button(text, () => go(where()));
  const first = press(say("Start"), () => 0), back = press(say("Back"), () => model.get("step") - 1), next = press(say("Next step"), () => model.get("step") + 1);
  const status = make("p", { class: "lf-told", role: "status" });

  // What is chosen.
  const title = make("p", { class: "lf-title" }), does = make("p", { class: "lf-does" });
  const told = {
    in: say("in"), out: say("out"), inside: say("inside"), parameters: say("parameters"),
    class: say("in the library"), module: say("in the model"), chapter: say("built in"),
  };
  const cell = Object.fromEntries(Object.keys(told).map((name) => [name, make("dd", { class: `lf-fact-${name}` })]));
  const facts = make("dl", { class: "lf-facts" }, ...Object.entries(told).flatMap(([name, text]) => [make("dt", { text }), cell[name]]));

  const sliders = Object.fromEntries(SIZES.map((name) => [name, slider(name, choices[name], grouped, (value) => keep(model, { [name]: value }))]));

  frame(el, make("div", { class: "lf-panels lf-atlas" },
    map,
    make("div", {},
      controls(say("Follow a token"), "lf-row lf-map-steps", first, back, next),
      status,
      make("div", { class: "lf-detail" }, title, does, facts),
      controls(say("Sizes"), "lf-controls lf-sizes", ...SIZES.map((name) => sliders[name].element)))));

  function shape(names, known) {
    const numbers = shapeOf(names, known).map(grouped);
    return [make("span", { class: "lf-number", text: `(${numbers.join(", ")}${numbers.length === 1 ? "," : ""})` }),
      make("small", { text: names.map((name) => axes[name] ?? name).join(" × ") })];
  }

  function update() {
    const now = sizes(), known = dimensions(), fill = holes(), step = model.get("step"), id = model.get("chosen"), block = byId[id];
    const { parts: shares, total: all } = census(now);
    for (const { block: other, side, button } of Object.values(buttons)) {
      const block = filled(other.label, fill), encoder = side === "encoder", count = now.n_layers;
      const layers = encoder ? say("encoder × {count} layers", { count }) : say("decoder × {count} layers", { count });
      const one = encoder ? say("encoder: {block}", { block }) : say("decoder: {block}", { block });
      button.textContent = block;
      const name = /layer$/.test(other.id) ? layers : one;
      set(button, { "aria-label": name, "aria-pressed": other.id === id });
      button.classList.toggle("lf-now", step > 0 && route[step - 1] === other.id);
    }
    reach(buttons[id].button);
    for (const path of paths) path.parts.forEach((part) => part.classList.toggle("lf-on", path.into === id));

    // The token at its block.
    const place = step ? byId[route[step - 1]] : null;
    token.hidden = !place;
    if (place) {
      token.textContent = step <= 6 ? source[from] : step === route.length ? target[to + 1] : target[to];
      token.lang = model.get(step <= 6 ? "language" : "target_language");
      token.style.left = percent(place.box[0] + place.box[2] - 2, MAP.width);
      token.style.top = percent(place.box[1] + 2, MAP.height);
    }
    for (const [button, off] of [[first, !step], [back, !step], [next, step === route.length]]) set(button, { "aria-disabled": off });
    status.textContent = place ? stepped(step, place, fill) : [
      say("Follow “{word}” through the encoder, and then “{given}” through the decoder, step by step.", { word: fill.word, given: fill.given }),
      say("Or choose a block."),
    ].join(" ");

    title.textContent = block.title;
    does.textContent = filled(block.does, fill);
    cell.in.replaceChildren(...shape(block.enters, known));
    cell.out.replaceChildren(...shape(block.leaves, known));
    const [what, ...names] = block.inside;
    cell.inside.replaceChildren(...(what ? shape(names, known) : ["–"]));
    const form = cell.inside.lastChild.textContent;
    if (what) cell.inside.lastChild.textContent = what === "weights" ? say("weights: {form}", { form }) : say("hidden: {form}", { form });
    const each = learned(block.kind, now), times = block.layered ? now.n_layers : 1;
    cell.parameters.replaceChildren(make("span", { class: "lf-number", text: times > 1 && each ? `${grouped(each)} × ${times} = ${grouped(each * times)}` : grouped(each) }),
      make("small", { text: formula[block.kind] }));
    const cut = block.source.lastIndexOf(".", block.source.length - 1);
    const method = /\.[A-Z]\w*\.\w+$/.test(block.source) ? block.source.lastIndexOf(".", cut - 1) : cut;
    cell.class.replaceChildren(make("code", { text: block.source.slice(method + 1) }), make("small", { text: block.source.slice(0, method) }));
    const steps = block.path.replace(".0", "[i]").split(/(?=\.)/); // a long path breaks before a dot
    cell.module.replaceChildren(block.path ? make("code", {}, ...steps.flatMap((part) => [make("wbr"), part])) : "–");
    const [number, file, name] = chapters[block.chapter], chapter = say("chapter {number}, {name}", { number, name });
    cell.chapter.replaceChildren(model.page ? make("a", { href: `${file}.html`, text: chapter }) : chapter);

    total.textContent = grouped(all);
    for (const { part, share, bar } of bars) {
      const fraction = shares[part] / all;
      share.textContent = fraction < 0.005 ? say("under 0.5 %") : `${Math.round(100 * fraction)} %`;
      bar.style.width = `${100 * fraction}%`;
    }
    SIZES.forEach((size) => sliders[size].show(now[size]));
    keep(model, { parameters: all });
  }

  function stepped(step, block, fill) {
    const at = { step, count: route.length, block: block.label.replace("+ ", "") };
    const encoder = buttons[block.id].side === "encoder";
    const place = encoder ? say("Step {step} of {count}, encoder, {block}.", at) : say("Step {step} of {count}, decoder, {block}.", at);
    return `${place} ${filled(block.walk, fill)}`;
  }
  return follow(model, [...SIZES, "chosen", "step"], update);
}

export default figure(render);
