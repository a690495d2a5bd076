// What moves by itself, and not for readers who have asked their device for little motion.

/** Whether the reader wants little motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * A button that plays a figure, a step in every so many milliseconds, until `step` returns that there are no more.
 * `begin` comes first; `changed` is called after it, and when the playing has ended. Readers who want little motion
 * have no such button. Returns its element, a function that ends the playing, and one that tells whether it plays.
 */
export function player({ every, pause, begin, step, changed = () => {}, class: kind = "lf-button" }) {
  let timer = null;
  const element = make("button", { type: "button", class: kind, hidden: calm(), onclick: () => (timer ? stop() : start()) });
  const show = () => (element.textContent = timer ? pause : say("Play"));
  function start() {
    timer = setInterval(() => step() || stop(), every);
    show();
    begin();
    changed();
  }
  function stop() {
    if (!timer) return;
    clearInterval(timer);
    timer = null;
    show();
    changed();
  }
  show();
  return { element, stop, playing: () => timer !== null };
}
