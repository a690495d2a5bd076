// Answer predictions on the page, without a kernel: compare what a reader answers with what the book computed when the
// page was built, and show what is said of that answer. What was solved is remembered on this device alone.
(() => {
  const KEPT = "attention-step-by-step/solved/";

  /** What this device remembers: nothing, where its browser keeps nothing. */
  function isSolved(id) {
    try {
      return localStorage.getItem(KEPT + id) !== null;
    } catch {
      return false;
    }
  }
  function remember(id, solved) {
    try {
      if (solved) localStorage.setItem(KEPT + id, "yes");
      else localStorage.removeItem(KEPT + id);
    } catch {
      // The answer is judged all the same.
    }
  }

  const TOKEN =
    /\s*(?:([[\](),])|("[^"]*"|'[^']*')|([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?(?!\w))|([a-z_][\w.]*))\s*/iy;

  /** What is written as in Python: a number, a word, True or False, or a tuple or list of these. */
  function read(text) {
    const source = text.replace(/[“”„]/g, '"').replace(/[‘’]/g, "'").replaceAll("−", "-"); // as phones write them
    const tokens = [];
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < source.length; ) {
      const found = TOKEN.exec(source);
      if (!found) throw new SyntaxError(source);
      const [, sign, quoted, number, word] = found;
      if (sign) tokens.push({ sign });
      else if (quoted) tokens.push({ value: quoted.slice(1, -1) });
      else if (number) tokens.push({ value: Number(number.replaceAll("_", "")) });
      else tokens.push({ value: { true: true, false: false }[word.toLowerCase()] ?? word, word });
    }
    tokens.push({ sign: "end" });
    let at = 0;
    const next = (sign) => tokens[at].sign === sign && ++at > 0;
    function list(end) {
      const values = [];
      for (let comma = true; !next(end); comma = next(",")) {
        if (!comma) throw new SyntaxError(source);
        values.push(value());
      }
      // Brackets around one value are no tuple.
      return end === "]" || values.length !== 1 || tokens[at - 2].sign === "," ? values : values[0];
    }
    function value() {
      if (next("[")) return list("]");
      if (next("(")) return list(")");
      const token = tokens[at++];
      if (token.sign) throw new SyntaxError(source);
      return token.word && next("(") ? list(")") : token.value; // torch.Size([2, 3]) is its sizes
    }
    return list("end");
  }

  const plain = (word) => word.trim().toLowerCase();

  /** Whether two answers are equal: numbers within a distance, words without case. */
  function alike(expected, given, atol) {
    if (Array.isArray(expected))
      return sameKind(expected, given) && expected.every((one, i) => alike(one, given[i], atol));
    if (typeof expected !== typeof given) return false;
    if (typeof expected === "number") return Math.abs(expected - given) <= atol;
    return typeof expected === "string" ? plain(expected) === plain(given) : expected === given;
  }

  function sameKind(expected, given) {
    if (!Array.isArray(expected)) return typeof expected === typeof given;
    return (
      Array.isArray(given) && given.length === expected.length && expected.every((one, i) => sameKind(one, given[i]))
    );
  }

  /** What is said of an answer: of the right one, of a named mistake, of another kind of thing, or of any other. */
  function reply(form, answer) {
    const replies = [...form.querySelectorAll("template")], atol = Number(form.dataset.atol);
    const of = (name) => replies.find((one) => one.dataset.of === name);
    let given;
    try {
      given = read(answer);
    } catch {
      return of("kind");
    }
    const named = replies.find(({ dataset }) => {
      const expected = dataset.right ?? dataset.mistake;
      return expected !== undefined && alike(JSON.parse(expected), given, atol);
    });
    const right = replies.find((one) => one.dataset.right !== undefined);
    return named ?? of(sameKind(JSON.parse(right.dataset.right), given) ? "other" : "kind");
  }

  function makeAlive(form) {
    const id = form.dataset.exercise, mark = form.querySelector(".solved"), status = form.querySelector("[role=status]");
    mark.hidden = !isSolved(id);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = reply(form, form.elements.answer.value);
      const verdict = said.dataset.right !== undefined ? "right" : "wrong";
      status.className = verdict;
      status.replaceChildren(said.content.cloneNode(true));
      if (status.querySelector(".math")) window.MathJax?.typesetPromise?.([status]);
      if (verdict === "right") {
        remember(id, true);
        mark.hidden = false;
      }
    });
  }

  /** On the page that lists all exercises: a mark for each that is solved, and a way to forget them. */
  function showProgress(progress) {
    const all = progress.dataset.predictions.split(" ");
    const [words, forget] = progress.children;
    function show() {
      const solved = all.filter(isSolved);
      for (const mark of document.querySelectorAll("td .solved")) mark.remove();
      for (const id of solved) {
        const mark = Object.assign(document.createElement("span"), { className: "solved" });
        mark.textContent = progress.dataset.solved;
        document.querySelector(`td a[href$="#ex-${id}"]`).after(" ", mark);
      }
      const { some, none } = progress.dataset;
      words.textContent = solved.length ? some.replace("{solved}", solved.length).replace("{all}", all.length) : none;
      forget.hidden = !solved.length;
    }
    forget.addEventListener("click", () => {
      for (const id of all) remember(id, false);
      show();
    });
    show();
    window.addEventListener("pageshow", show); // also where the browser goes back to this page as it was
  }

  function start() {
    for (const form of document.querySelectorAll("form.prediction")) makeAlive(form);
    for (const progress of document.querySelectorAll(".progress-here")) showProgress(progress);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
