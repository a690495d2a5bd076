// Wake the live figures of a page from the state that its notebook stored: no kernel, no network.
// Each figure is an anywidget; this is the part of a notebook's front end that such figures need, and no more.
(() => {
  /** What a figure keeps its data in: the interface that anywidgets are promised. */
  class Model {
    page = true; // and not a kernel's front end
    constructor(state) {
      this.state = state;
      this.listeners = {};
    }
    get(name) {
      return this.state[name];
    }
    /** Set a value, or several at once: nobody hears of one before all have arrived. */
    set(name, value) {
      const values = typeof name === "object" ? name : { [name]: value };
      const changed = Object.keys(values).filter((one) => JSON.stringify(this.state[one]) !== JSON.stringify(values[one]));
      Object.assign(this.state, values);
      for (const event of changed.length ? [...changed.map((one) => `change:${one}`), "change"] : []) {
        (this.listeners[event] ?? []).forEach((listener) => listener(this));
      }
    }
    on(event, listener) {
      (this.listeners[event] ??= []).push(listener);
    }
    off(event, listener) {
      this.listeners[event] = (this.listeners[event] ?? []).filter((other) => listener && other !== listener);
    }
    save_changes() {} // there is no kernel to tell
    send() {}
  }

  async function wake(place, { _esm, ...state }) {
    const address = URL.createObjectURL(new Blob([_esm], { type: "text/javascript" }));
    const figure = (await import(address)).default;
    URL.revokeObjectURL(address);
    const model = new Model(state), el = document.createElement("div");
    await figure.initialize?.({ model });
    await figure.render({ model, el });
    place.replaceChildren(el);
    place.classList.add("awake");
    place.model = model;
  }

  function start() {
    const stored = document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]');
    const places = document.querySelectorAll(".figure-place");
    if (!stored || !places.length) return;
    const { state } = JSON.parse(stored.textContent);
    for (const place of places) wake(place, state[place.dataset.model].state).catch(console.error);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
