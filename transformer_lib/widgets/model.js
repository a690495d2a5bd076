// What a figure keeps in its model: it follows each change, wherever that comes from, and keeps what a reader chooses.

/**
 * Call `update` now, and whenever one of these values has changed; values that were changed together are one change.
 * Returns a function that ends it, for when the figure goes away.
 */
export function follow(model, names, update) {
  let known = null;
  function hear() {
    const now = JSON.stringify(names.map((name) => model.get(name)));
    if (now === known) return; // another of the values that came together has told of it
    known = now;
    update();
  }
  names.forEach((name) => model.on(`change:${name}`, hear));
  hear();
  return () => names.forEach((name) => model.off(`change:${name}`, hear));
}

/** Keep some values, all at once, and tell the kernel where there is one. */
export function keep(model, values) {
  model.set(values);
  model.save_changes();
}
