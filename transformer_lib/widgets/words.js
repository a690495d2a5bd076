// The figures' words. Every sentence is written where it is said, in English, whole and with named holes; another
// language comes as a table, whose keys are the English sentences. What it lacks stays English.

let sentences = {};

/** A figure as notebooks and pages ask for it, which speaks the language that its model brings. */
export function figure(render) {
  return {
    render(place) {
      sentences = place.model.get("texts") ?? {};
      return render(place);
    },
  };
}

/** A text whose holes are filled: `filled("{n} rows", { n: 2 })`. */
export function filled(text, holes = {}) {
  return text.replace(/\{(\w+)\}/g, (_, name) => holes[name]);
}

/** A sentence in the reader's language: `say("Row {place} is marked.", { place: 3 })`. */
export function say(sentence, holes) {
  return filled(sentences[sentence] ?? sentence, holes);
}

/** A sentence with elements in its holes, as a list for `append`. */
export function spread(sentence, holes) {
  const parts = (sentences[sentence] ?? sentence).split(/\{(\w+)\}/); // words and holes in turn
  return parts.map((part, i) => (i % 2 ? holes[part] : part)).filter((part) => part !== "");
}
