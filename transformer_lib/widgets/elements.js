// Building blocks of the figures: elements, sliders and bars that work by mouse, touch and keyboard.

/** Make an HTML element: `make("p", { class: "note", text: "…" }, child, …)`. */
export function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "circle", "rect", "text", "polygon"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** A button. */
export function button(text, onclick, kind = "lf-button") {
  return make("button", { type: "button", class: kind, text, onclick });
}

/** Controls that belong together. */
export function controls(label, kind, ...children) {
  return make("div", { class: kind, role: "group", "aria-label": label }, ...children);
}

/** The head of a table; columns of numbers stand at the right. */
export function heads(texts, numbers = []) {
  const cells = texts.map((text, i) => make("th", { scope: "col", text, class: numbers.includes(i) && "lf-right" }));
  return make("thead", {}, make("tr", {}, ...cells));
}

/**
 * Let arrow keys walk through the buttons of a toolbar, of which Tab reaches one. Returns a function that says which;
 * call it where the buttons have changed.
 */
export function walk(toolbar, { upwards = false } = {}) {
  const buttons = () => [...toolbar.querySelectorAll("button")];
  const reach = (one) => buttons().forEach((other) => (other.tabIndex = other === one ? 0 : -1));
  const [up, down] = upwards ? [1, -1] : [-1, 1];
  toolbar.addEventListener("focusin", (event) => reach(event.target.closest("button")));
  toolbar.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const all = buttons(), here = all.indexOf(event.target.closest("button"));
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: up, ArrowDown: down, Home: -here, End: all.length - 1 - here };
    if (!(event.key in steps)) return;
    event.preventDefault();
    all[here + steps[event.key]]?.focus();
  });
  return reach;
}

/** Make an element the place of a figure. */
export function frame(el, ...children) {
  el.classList.add("live-figure");
  // JupyterLab has uses of its own for these keys, and would take them from the sliders.
  el.dataset.lmSuppressShortcuts = "true";
  el.addEventListener("keydown", (event) => {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (plain && /^(Arrow|Page|Home|End|Enter| )/.test(event.key)) event.stopPropagation();
  });
  el.replaceChildren(...children);
}

/** Set attributes of an element that exists. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** A labeled slider over a list of values. Returns its element and a function that shows a value. */
export function slider(label, values, shown, change) {
  const output = make("output", { class: "lf-number" });
  const input = make("input", {
    type: "range", min: 0, max: values.length - 1, step: 1,
    oninput: () => { announce(); change(values[Number(input.value)]); },
  });
  function announce() {
    output.textContent = shown(values[Number(input.value)]);
    input.setAttribute("aria-valuetext", output.textContent);
  }
  const element = make("label", { class: "lf-slider" }, make("span", { text: label }), input, output);
  function show(value) {
    const distances = values.map((other) => Math.abs(other - value));
    input.value = distances.indexOf(Math.min(...distances));
    announce();
  }
  return { element, input, show };
}

/** A labeled box to tick. */
export function tick(label, change) {
  const input = make("input", { type: "checkbox", onchange: () => change(input.checked) });
  return { element: make("label", { class: "lf-tick" }, input, make("span", { text: label })), input };
}

/** A number with a fixed count of digits and a true minus sign. */
export function number(value, digits = 2) {
  const text = Math.abs(value) < 0.5 * 10 ** -digits ? (0).toFixed(digits) : value.toFixed(digits);
  return text.replace("-", "−");
}

/** A chart: `axes(…)` sets its ranges and ticks, `x`, `y` and `path` turn values into places, `drawing` holds the rest. */
export function chart({ width = 350, height = 170, left = 42, below = "" }) {
  const right = width - 12, top = 10, bottom = height - (below ? 38 : 20);
  const grid = make("g"), drawing = make("g");
  const caption = make("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle", text: below });
  const element = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "lf-chart" }, grid, drawing, caption);
  let ranges;
  const x = (value) => left + ((value - ranges.x[0]) / (ranges.x[1] - ranges.x[0])) * (right - left);
  const y = (value) => bottom - ((value - ranges.y[0]) / (ranges.y[1] - ranges.y[0])) * (bottom - top);
  /** Ticks are pairs of a value and its label. */
  function axes({ xTicks, yTicks, ...both }) {
    ranges = both;
    const line = (ends) => make("line", { ...ends, stroke: "var(--lf-line)" });
    grid.replaceChildren(
      line({ x1: left, x2: right, y1: bottom, y2: bottom }),
      ...yTicks.flatMap(([value, text]) => [
        line({ x1: left, x2: right, y1: y(value), y2: y(value), "stroke-opacity": 0.6 }),
        make("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end", text }),
      ]),
      ...xTicks.flatMap(([value, text]) => [
        line({ x1: x(value), x2: x(value), y1: bottom, y2: bottom + 4 }),
        make("text", { x: x(value), y: bottom + 17, "text-anchor": "middle", text }),
      ]),
    );
  }
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(2)} ${y(b).toFixed(2)}`).join("");
  return { element, drawing, axes, x, y, path, box: { left, right, top, bottom } };
}
