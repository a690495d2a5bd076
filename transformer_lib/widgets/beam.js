// Beam search, live: the page searches by itself, in a table of what the model says after each text.

/** What a sum of log-probabilities is divided by, for a text of so many tokens. */
export function lengthPenalty(length, name, alpha) {
  if (name === "none") return 1;
  return (name === "power" ? length : (5 + length) / 6) ** alpha;
}

/** What may follow a text: `[token, log-probability]`, the likeliest first. */
function continuations(table, text) {
  const flat = table[text.join(" ")], pairs = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i], flat[i + 1]]);
  return pairs;
}

/**
 * Search as `transformer_lib.beam_search` does, with as many best texts as beams.
 * Returns the candidates of each step, the texts finished by each step, and the best texts of all.
 */
export function beamSearch(table, { beams, penalty, alpha, end, longest }) {
  const divisor = (length) => lengthPenalty(length, penalty, alpha);
  const steps = [];
  let running = [{ tokens: [], total: 0 }], finished = [];
  for (let step = 1; step <= longest; step++) {
    const last = step === longest;
    const candidates = running
      .flatMap(({ tokens, total }, parent) =>
        continuations(table, tokens).map(([token, log]) => ({
          parent, token, log, total: total + log, tokens: [...tokens, token], beam: null, finished: false,
        })),
      )
      .sort((a, b) => b.total - a.total)
      .slice(0, 2 * beams);
    const kept = [];
    candidates.forEach((candidate, rank) => {
      const ends = last || candidate.token === end;
      candidate.finished = ends && rank < beams;
      if (candidate.finished) finished.push({ ...candidate, score: candidate.total / divisor(step) });
      else if (!ends && kept.length < beams) {
        candidate.beam = kept.length;
        kept.push(candidate);
      }
    });
    finished = [...finished].sort((a, b) => b.score - a.score).slice(0, beams);
    steps.push({ candidates, finished });
    // Log-probabilities only fall: the best score that a running text can still reach.
    const largest = Math.max(divisor(Math.min(step + 1, longest)), divisor(longest));
    if (!kept.length || (finished.length === beams && kept[0].total / largest <= finished[beams - 1].score)) break;
    running = kept;
  }
  return { steps, finished };
}

const TREE = { width: 380, left: 26, top: 30, row: 42, chip: 25 };

function render({ model, el }) {
  const names = model.get("names"), widths = model.get("widths"), words = model.get("words"), end = model.get("eos_id");
  const penalties = model.get("penalties"), language = model.get("language");
  const spelled = (tokens) => tokens.map((token) => (token === end ? "" : words[token])).join("").trim();
  let searched = null, search;

  /** Search with the settings of the model, or with others; what was searched last stays known. */
  function find(others = {}) {
    const settings = Object.fromEntries(["text", "beams", "penalty"].map((name) => [name, others[name] ?? model.get(name)]));
    if (JSON.stringify(settings) === searched) return;
    const [penalty, alpha] = penalties[settings.penalty], longest = model.get("max_new_tokens");
    search = beamSearch(model.get("tables")[settings.text], { beams: settings.beams, penalty, alpha, end, longest });
    searched = JSON.stringify(settings);
  }
  const shownStep = () => Math.min(model.get("step"), search.steps.length);

  // The settings; what was shown to its end stays so.
  const settle = (name) => (value) => {
    const whole = shownStep() === search.steps.length;
    play.stop();
    find({ [name]: value });
    keep(model, { [name]: value, chosen: 0, ...(whole ? { step: search.steps.length } : {}) });
  };
  const select = make("select", { onchange: () => settle("text")(select.selectedIndex) },
    ...names.map((name) => make("option", { text: name })));
  const width = slider(say("beams"), widths, String, settle("beams"));
  const told = ([name, alpha]) => (name === "none" ? say("none") : `${name}, α ${alpha}`);
  const penalty = slider(say("length penalty"), penalties.map((_, i) => i), (i) => told(penalties[i]), settle("penalty"));

  // The steps.
  const go = (step) => keep(model, { step: Math.max(0, Math.min(search.steps.length, step)) });
  const press = (text, where) => button(text, () => { play.stop(); go(where()); });
  const first = press(say("Start"), () => 0), back = press(say("Back"), () => shownStep() - 1);
  const next = press(say("Next"), () => shownStep() + 1), whole = press(say("End"), () => search.steps.length);
  const play = player({
    every: 1100, pause: say("Pause"),
    begin: () => shownStep() === search.steps.length && go(0),
    step: () => { go(shownStep() + 1); return shownStep() < search.steps.length; },
  });

  // What is seen.
  const tree = make("svg", { role: "img", class: "lf-tree" });
  const legend = make("p", { class: "lf-note", text: [
    say("Framed texts go on, the others are dropped."),
    say("A number on green: a text that ends there, and its place among the finished ones."),
    say("The thick path is the one chosen in their table."),
  ].join(" ") });
  const status = make("p", { class: "lf-beam-status", role: "status" });
  const weighed = make("tbody"), ranked = make("tbody");
  const weighedCaption = make("caption"), rankedCaption = make("caption", { text: say("Finished texts, best first") });
  const candidates = make("table", { class: "lf-table lf-weighed" }, weighedCaption, heads([say("of beam"), say("next"), "log p", say("sum"), say("what becomes of it")], [2, 3]), weighed);
  const results = make("table", { class: "lf-table lf-ranked" }, rankedCaption, heads(["#", say("text"), say("tokens"), say("sum"), say("score")], [2, 3, 4]), ranked);

  frame(
    el,
    controls(say("Controls"), "lf-controls lf-beam-controls",
      make("label", { class: "lf-slider" }, make("span", { text: say("translate") }), select), width.element, penalty.element),
    controls(say("Steps"), "lf-row lf-beam-steps", first, back, next, whole, play.element),
    status,
    make("div", { class: "lf-panels lf-beam" }, make("div", {}, tree, legend), make("div", {}, candidates, results)),
  );

  /** The text that is marked in the tree. */
  const marked = () => (search.steps[shownStep() - 1]?.finished ?? [])[model.get("chosen")];
  const begins = (tokens) => marked() && tokens.every((token, i) => marked().tokens[i] === token);

  function draw() {
    const beams = model.get("beams"), now = shownStep(), finished = search.steps[now - 1]?.finished ?? [];
    const rows = model.get("rows")[model.get("text")];
    const columns = Math.max(beams, Math.min(2 * beams, 5)), slot = Math.min((TREE.width - TREE.left) / columns, 110);
    const x = (column) => TREE.left + slot * (column + 0.5), y = (step) => TREE.top + TREE.row * step;
    const parts = { under: [], lines: [], chips: [] };
    for (let beam = 0; beam < columns; beam++) {
      const text = beam < beams ? say("beam {number}", { number: beam + 1 }) : beam === beams ? say("dropped") : "";
      parts.under.push(make("text", { x: x(beam), y: 11, "text-anchor": "middle", class: "lf-small", text }));
    }
    if (columns > beams) {
      const edge = TREE.left + slot * beams;
      parts.under.push(make("line", { x1: edge, x2: edge, y1: 18, y2: y(rows) + 18, class: "lf-border" }));
    }
    for (let step = 1; step <= rows; step++) {
      const text = String(step);
      parts.under.push(make("text", { x: 10, y: y(step) + 4, "text-anchor": "middle", class: "lf-small", text, opacity: step > search.steps.length ? 0 : 1 }));
    }
    parts.chips.push(make("circle", { cx: x(0), cy: y(0), r: 5, class: "lf-root" }));
    search.steps.slice(0, now).forEach(({ candidates: all, finished: _ }, i) => {
      const step = i + 1, last = step === model.get("max_new_tokens");
      const shown = all.filter((one) => last || one.token !== end).slice(0, columns);
      shown.forEach((one, column) => {
        const kept = one.beam !== null || one.finished, on = kept && begins(one.tokens);
        const kind = `${kept ? "lf-kept" : "lf-dropped"}${on ? " lf-on" : ""}`;
        const from = y(step - 1) + (step > 1 ? TREE.chip / 2 : 0);
        parts.lines.push(make("line", { x1: x(one.parent), y1: from, x2: x(column), y2: y(step) - TREE.chip / 2, class: `lf-link ${kind}` }));
        parts.chips.push(chip(words[one.token].trim() || "␣", x(column), y(step), slot - 8, kind));
      });
      // A text that ends carries a flag; its number is its place among the finished ones.
      all.filter((one) => one.finished && (last || one.token === end)).forEach((one) => {
        const place = finished.findIndex((other) => other.tokens.join() === one.tokens.join());
        if (place < 0) return;
        const at = last ? [x(shown.indexOf(one)), y(step)] : [x(one.parent), y(step - 1)];
        const text = words[last ? one.token : one.tokens.at(-2)]?.trim() ?? "";
        parts.chips.push(flag(place + 1, at[0] + boxWidth(text, slot - 8) / 2 + 4, at[1] + 9));
      });
    });
    set(tree, { viewBox: `0 0 ${TREE.width} ${y(rows) + 20}` });
    tree.replaceChildren(...parts.under, ...parts.lines, ...parts.chips);
  }

  function update() {
    find();
    const beams = model.get("beams"), now = shownStep(), count = search.steps.length, at = search.steps[now - 1];
    const finished = at?.finished ?? [];
    select.selectedIndex = model.get("text");
    width.show(beams);
    penalty.show(model.get("penalty"));
    for (const [button, off] of [[first, now === 0], [back, now === 0], [next, now === count], [whole, now === count]]) {
      button.setAttribute("aria-disabled", off);
    }
    draw();
    const running = (at?.candidates ?? []).filter((one) => one.beam !== null), texts = running.map((one) => spelled(one.tokens)).join("; ");
    const left = running.length ? say("Beams: {texts}.", { texts }) : say("No beam is left.");
    set(tree, { "aria-label": at
      ? `${say("The tree after step {step}.", { step: now })} ${left}`
      : say("The tree before the first step: nothing is written.") });

    weighedCaption.textContent = at ? say("Step {step}: the {count} best continuations", { step: now, count: at.candidates.length }) : say("No step yet");
    weighed.replaceChildren(...(at?.candidates ?? []).map((one) => {
      const fate = one.finished ? "finished" : one.beam !== null ? "beam" : "dropped";
      const fates = { finished: say("finished"), beam: say("beam {number}", { number: one.beam + 1 }), dropped: say("dropped") };
      const token = one.token === end ? make("em", { text: say("end") }) : make("span", { text: words[one.token].trim() || "␣", lang: language });
      return make("tr", { class: fate === "dropped" ? "lf-faint" : null },
        make("td", { text: now > 1 ? one.parent + 1 : "–" }), make("td", {}, token),
        make("td", { class: "lf-right", text: number(one.log) }), make("td", { class: "lf-right", text: number(one.total) }),
        make("td", { class: `lf-fate lf-${fate}`, text: fates[fate] }));
    }));
    const focused = [...ranked.querySelectorAll("button")].indexOf(document.activeElement);
    ranked.replaceChildren(...Array.from({ length: beams }, (_, place) => {
      const one = finished[place];
      if (!one) return make("tr", {}, make("td", { class: "lf-muted", text: place + 1 }), make("td", { colspan: 4, class: "lf-muted", text: say("not yet") }));
      const pressed = place === model.get("chosen");
      const button = make("button", {
        type: "button", class: "lf-found", "aria-pressed": String(pressed), lang: language, text: spelled(one.tokens),
        onclick: () => keep(model, { chosen: place }),
      });
      return make("tr", {}, make("td", { text: place + 1 }), make("td", { class: "lf-wrap" }, button),
        ...[one.tokens.length, number(one.total, 3), number(one.score, 3)].map((text) => make("td", { class: "lf-right", text })));
    }));
    ranked.querySelectorAll("button")[focused]?.focus();
    status.textContent = tell(at, now, count, running, finished);

    const found = search.finished.map((one) => [one.tokens, rounded(one.total), rounded(one.score)]);
    keep(model, { finished: found });
  }

  function tell(at, now, count, running, finished) {
    if (!at) return [say("Nothing is written yet."), say("The next step weighs the likeliest first tokens.")].join(" ");
    const ends = at.candidates.filter((one) => one.finished).length;
    const said = [say("Step {step} of {count}.", { step: now, count })];
    if (ends) said.push(ends === 1 ? say("One text ends.") : say("{number} texts end.", { number: ends }));
    if (now < count) {
      const best = { text: spelled(running[0].tokens), sum: number(running[0].total) };
      said.push(say("The best that runs on is “{text}”, with the sum {sum}.", best));
    } else {
      const best = { text: spelled(finished[0].tokens), score: number(finished[0].score, 3) };
      const longest = now === model.get("max_new_tokens");
      said.push(longest ? say("The search ends: no text may be longer.") : say("The search ends: nothing that runs on can do better."));
      said.push(say("Best: “{text}”, score {score}.", best));
    }
    return said.join(" ");
  }

  const leave = follow(model, ["text", "beams", "penalty", "step", "chosen"], update);
  return () => {
    play.stop();
    leave();
  };
}

const rounded = (value) => Math.round(value * 1e5) / 1e5;

const shortened = (text) => (text.length > 14 ? `${text.slice(0, 13)}…` : text);
const boxWidth = (text, room) => Math.max(Math.min(7 * shortened(text).length + 12, room), 24);

/** A token of the tree, in a box as wide as it needs. */
function chip(text, x, y, room, kind) {
  const short = shortened(text), wanted = 7 * short.length, box = boxWidth(text, room), inner = Math.min(wanted, box - 10);
  const label = make("text", { x, y: y + 4.5, "text-anchor": "middle", text: short });
  if (wanted > inner) set(label, { textLength: inner, lengthAdjust: "spacingAndGlyphs" });
  const frame = make("rect", { x: x - box / 2, y: y - TREE.chip / 2, width: box, height: TREE.chip, rx: 5 });
  return make("g", { class: `lf-chip ${kind}` }, frame, label);
}

/** The mark of a text that ends: its place among the finished ones. */
function flag(place, x, y) {
  return make("g", { class: "lf-flag" },
    make("rect", { x: x - 8, y: y - 8, width: 16, height: 16, rx: 3 }),
    make("text", { x, y: y + 4, "text-anchor": "middle", text: place }));
}

export default figure(render);
