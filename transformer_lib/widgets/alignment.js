// A translation being written: lines from its words to the words that were looked at.

/** What is seen in words: the largest weights of a row. */
export function looked(row, read, count = 2) {
  const order = row.map((_, i) => i).sort((a, b) => row[b] - row[a] || a - b);
  return order.slice(0, count).filter((i) => row[i] >= 0.05).map((i) => `${read[i]} ${number(row[i])}`).join(", ");
}

const GAP = 130; // pixels between the two sentences
let alignments = 0;

function render({ model, el }) {
  const read = model.get("read"), written = model.get("written"), weights = model.get("weights");
  const name = `lf-alignment-${alignments++}`, last = written.length - 1;
  const choose = (place) => keep(model, { place });

  const above = read.map((word) => make("span", { text: word, title: word === "■" ? say("the end of the sentence") : null }));
  const below = written.map((word, place) => {
    const input = make("input", {
      type: "radio", name, "aria-label": word,
      onchange: () => { play.stop(); choose(place); },
    });
    const element = make("label", { onpointerenter: (event) => event.pointerType === "mouse" && !play.playing() && hover(place), onpointerleave: () => hover(null) },
      input, make("span", { text: word, lang: "pt-BR" }));
    return { input, element };
  });
  const lines = written.map(() => read.map(() => make("path")));
  const drawing = make("svg", { class: "lf-lines", style: `height:${GAP}px`, "aria-hidden": "true" }, ...lines.flat());
  const told = make("p", { class: "lf-note", role: "status" });
  let next = 0, hovered = null;
  const play = player({
    every: 1000, class: "lf-button lf-small", pause: say("Stop"),
    begin: () => { [next, hovered] = [1, null]; choose(0); },
    step: () => {
      if (next > last) return false;
      choose(next++);
      return true;
    },
    changed: () => update(),
  });
  const first = make("div", { class: "lf-sentence lf-read", lang: "en" }, ...above);
  const second = make("div", { class: "lf-sentence lf-written", role: "radiogroup", "aria-label": say("The word that is being written") }, ...below.map((one) => one.element));
  frame(el, make("div", { class: "lf-alignment" }, first, drawing, second,
    make("div", { class: "lf-row lf-between" }, told, play.element),
    make("div", { class: "lf-warnings" }, ...(model.get("notes") ?? []).map((text) => make("p", { text })))));

  function hover(place) {
    hovered = place;
    update();
  }

  function update() {
    const writing = play.playing(), place = hovered ?? model.get("place"), row = weights[place];
    // First the words, since their looks move them; then the lines between them.
    above.forEach((element, j) => element.style.setProperty("--weight", row[j]));
    below.forEach(({ input, element }, i) => {
      input.checked = i === model.get("place");
      element.classList.toggle("now", i === place);
      element.classList.toggle("unwritten", writing && i > place);
    });
    const left = drawing.getBoundingClientRect().left;
    const middle = (element) => {
      const box = element.getBoundingClientRect();
      return box.left + box.width / 2 - left;
    };
    const tops = above.map(middle), ends = below.map((one) => middle(one.element));
    drawing.setAttribute("viewBox", `0 0 ${Math.max(1, drawing.parentElement.clientWidth)} ${GAP}`);
    lines.forEach((those, i) => those.forEach((line, j) => {
      const weight = weights[i][j], now = i === place, seen = weight >= 0.02 && (!writing || i <= place);
      set(line, {
        d: `M${ends[i]} ${GAP - 2}C${ends[i]} ${0.55 * GAP} ${tops[j]} ${0.45 * GAP} ${tops[j]} 2`,
        class: now ? "now" : "",
        "stroke-width": seen ? 0.5 + (now ? 5 : 2.2) * weight : 0,
        "stroke-opacity": seen ? (now ? 0.15 + 0.85 * weight : 0.45 * weight) : 0,
      });
    }));
    told.textContent = say("“{word}” looked at: {words}", { word: written[place], words: looked(row, read) });
  }
  const leave = follow(model, ["place"], update);
  const watch = new ResizeObserver(update);
  [drawing.parentElement, ...above, ...below.map((one) => one.element)].forEach((part) => watch.observe(part));
  return () => {
    play.stop();
    watch.disconnect();
    leave();
  };
}

export default figure(render);
