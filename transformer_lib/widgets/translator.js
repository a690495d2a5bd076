// The translator of chapter 10, running here: tokens, encoder, decoder with a cache, greedy and beam search.

const BEGIN = 1, END = 2, UNKNOWN = 3;

// ---- The entrance of text: the rule of transformer_lib/data/text.py.

const UNSEEN = /[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\u{e0000}-\u{e0fff}]/gu;
const BLANKS = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\u2581]+/gu;
const PLAIN = new Map([
  ...Array.from("“”„‟«»″", (sign) => [sign, '"']),
  ...Array.from("‘’‚‛ʻʼ´`′‹›", (sign) => [sign, "'"]),
  ...Array.from("‐‑‒–—―−→▸", (sign) => [sign, "-"]),
  ["…", "..."], ["ﬀ", "ff"], ["ﬁ", "fi"], ["ﬂ", "fl"], ["ﬃ", "ffi"], ["ﬄ", "ffl"], ["ﬅ", "st"], ["ﬆ", "st"],
]);

/** Write a text in the one way: what looks alike is read alike. */
export function normalized(text) {
  const composed = text.replace(/\p{Surrogate}/gu, "\ufffd").replace(UNSEEN, "").normalize("NFC");
  return Array.from(composed, (sign) => PLAIN.get(sign) ?? sign).join("").replace(BLANKS, " ").replace(/^ | $/g, "");
}

// ---- Words that training has seen: the rules of transformer_lib/data/seen.py.

/** The words of a text: `{word, start, key}`; the key has no capitals and no final 's. */
export function words(text) {
  return Array.from(text.matchAll(/\p{L}+(?:'\p{L}+)*/gu), ({ 0: word, index: start }) => ({ word, start, key: keyOf(word) }));
}

const keyOf = (word) => word.toLowerCase().replace(/'s$/, "");
const inCapitals = (text) => text === text.toUpperCase() && text !== text.toLowerCase();
const initial = (word) => word.replace(/^./u, (sign) => sign.toUpperCase());

export class SeenWords {
  constructor(forms) {
    this.forms = new Set(forms);
    this.usual = new Map(Array.from(forms).reverse().map((form) => [keyOf(form), form])); // the first form stays
  }

  has(key) {
    return this.usual.has(key);
  }

  /** A text whose words in capitals are written as training wrote them. */
  recased(text) {
    const all = words(text), usual = all.flatMap(({ key }) => this.usual.get(key) ?? []);
    const loud = inCapitals(text) && /\p{L} \p{L}/u.test(text) && !usual.every(inCapitals);
    let done = 0, read = "";
    all.forEach(({ word, start, key }, i) => {
      const lower = word.toLowerCase(), known = [key, lower.split("'")[0]].find((part) => this.has(part)) ?? "";
      const strange = [...word].length > 1 && inCapitals(word) && known && !this.forms.has(word.slice(0, known.length));
      const before = text.slice(Math.max(0, start - 2), start), after = text.slice(start + word.length, start + word.length + 2);
      const joined = /[\p{N}_]$/u.test(before) || /^[\p{N}_]/u.test(after);
      if (!loud && (joined || !strange)) return;
      const form = (this.usual.get(known) ?? "") + lower.slice(known.length);
      const begins = i === 0 || /[.!?]["')]? ["'(]?$/.test(text.slice(Math.max(0, start - 4), start));
      read += text.slice(done, start) + (begins ? initial(form) : form);
      done = start + word.length;
    });
    return read + text.slice(done);
  }
}

/**
 * What is read of a text, up to so many tokens: `{text, ids, pieces, unread, unknown, recased, unseen, notes}`, as
 * `transformer_lib.data.tokens.read_texts` has it; and `guessed`, the places of the pieces of words never seen.
 */
export function readText(tokenizer, written, longest, seen = null) {
  const plain = normalized(written), whole = seen ? seen.recased(plain) : plain;
  // No more than could be read: joining takes the square of a word's length, and whole books can be pasted.
  const pieces = tokenizer.parts(whole.slice(0, (longest + 1) * tokenizer.widest));
  if (pieces.length >= longest) {
    let end = longest - 1;
    while (end > 0 && !pieces[end].startsWith("▁")) end--;
    pieces.length = end || longest - 1;
  }
  const text = pieces.join("").replaceAll("▁", " ").replace(/^ /, ""), unread = whole.slice(text.length).replace(/^ /, "");
  const ids = pieces.map((piece) => tokenizer.id(piece));
  const unknown = [...new Set(pieces.filter((_, i) => ids[i] === UNKNOWN))];
  const recased = text !== plain.slice(0, text.length);
  // What is said of a sign need not be said of its word once more.
  const told = ({ word }) => unknown.some((sign) => word.includes(sign));
  const bare = ({ word, start, key }) => ({ word: word.slice(0, key.length), start, key });
  const strange = seen ? words(text).filter(({ key }) => !seen.has(key)).map(bare) : [], guesses = strange.filter((one) => !told(one));
  const once = strange.filter(({ key }, i) => strange.findIndex((other) => other.key === key) === i);
  const unseen = once.filter((one) => !told(one)).map(({ word }) => word);
  let at = pieces[0]?.startsWith("▁") ? -1 : 0; // the first mark stands for no blank
  const guessed = pieces.flatMap((piece, i) => {
    const from = at;
    at += piece.length;
    return guesses.some(({ start, word }) => from < start + word.length && start < at) ? i : [];
  });
  const cut = (quoted) => (Array.from(quoted).length > 60 ? `${Array.from(quoted).slice(0, 59).join("")}…` : quoted);
  const notes = [];
  if (recased) notes.push(say("Words in capitals are read as training mostly wrote them: “{quoted}”.", { quoted: cut(text) }));
  const signs = unknown.slice(0, 8).map((sign) => `“${sign}”`).join(", "), more = unknown.length - 8;
  if (more > 0) notes.push(say("No token stands for {signs} and {more} more: read as unknown.", { signs, more }));
  else if (signs) notes.push(say("No token stands for {signs}: read as unknown.", { signs }));
  const guess = unseen.slice(0, 8).map((word) => `“${cut(word)}”`).join(", "), others = unseen.length - 8;
  if (others > 0) notes.push(say("Never seen in training, so translated by guesswork: {words} and {more} more.", { words: guess, more: others }));
  else if (guess) notes.push(say("Never seen in training, so translated by guesswork: {words}.", { words: guess }));
  if (unread) notes.push(say("Of a sentence at most {longest} tokens are read. Not read: “{quoted}”.", { longest, quoted: cut(unread) }));
  return { text, ids: [...ids, END], pieces: [...pieces, "<eos>"], unread, unknown, recased, unseen, guessed, notes };
}

// ---- Tokens: byte-pair encoding, as the tokenizers library does it.

export class Tokenizer {
  constructor({ tokens, merges }) {
    this.tokens = tokens;
    this.ids = new Map(tokens.map((token, id) => [token, id]));
    this.widest = Math.max(...tokens.map((token) => token.length));
    this.ranks = new Map(merges.map((pair, rank) => [pair, rank]));
  }

  /** The pieces of a text within which tokens may join: words, single punctuation marks, single digits. */
  static pieces(text) {
    const marked = text.replaceAll(" ", "▁");
    const words = (marked.startsWith("▁") ? marked : "▁" + marked).split(/(?=▁)/);
    return words.flatMap((word) => word.split(/([\p{P}$+<=>^`|~]|\p{N})/u)).filter((piece) => piece !== "");
  }

  /** A text's tokens as strings; a sign without a token stands for itself. */
  parts(text) {
    return text ? Tokenizer.pieces(text).flatMap((piece) => this.join([...piece])) : [];
  }

  id(part) {
    return this.ids.get(part) ?? UNKNOWN;
  }

  encode(text) {
    return this.parts(text).map((part) => this.id(part));
  }

  /** Join neighbors, always the pair that was learned first, until no pair is known. */
  join(parts) {
    // A character without a token of its own stands alone, as the unknown.
    for (;;) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return parts;
      const [left, right] = [parts[at], parts[at + 1]], joined = [];
      for (let i = 0; i < parts.length; i++) {
        const here = i + 1 < parts.length && parts[i] === left && parts[i + 1] === right;
        joined.push(here ? left + right : parts[i]);
        if (here) i++;
      }
      parts = joined;
    }
  }

  decode(ids) {
    return ids.filter((id) => id > 3).map((id) => this.tokens[id]).join("").replaceAll("▁", " ").replace(/^ /, "");
  }
}

// ---- The model. A sequence is a list of vectors, each a Float32Array.

/** Numbers of 16 bits as numbers of 32. */
export function widen(halves) {
  const wide = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const sign = halves[i] & 0x8000 ? -1 : 1, exponent = (halves[i] >> 10) & 31, fraction = halves[i] & 1023;
    if (exponent === 0) wide[i] = sign * 2 ** -24 * fraction;
    else if (exponent === 31) wide[i] = fraction ? NaN : sign * Infinity;
    else wide[i] = sign * 2 ** (exponent - 25) * (1024 + fraction);
  }
  return wide;
}

export class TransformerModel {
  /** `tensors`: a map from PyTorch's names to Float32Arrays; a weight has `out × in` numbers. */
  constructor({ encoder, decoder }, tensors) {
    [this.encoder, this.decoder, this.tensors] = [encoder, decoder, tensors];
    this.width = encoder.d_model;
    this.vocabulary = tensors.get("embedding.weight").length / this.width;
  }

  linear(x, name) {
    return this.product(x, this.tensors.get(`${name}.weight`), this.tensors.get(`${name}.bias`));
  }

  product(x, weight, bias) {
    const inner = x.length, y = new Float32Array(weight.length / inner);
    for (let row = 0, at = 0; row < y.length; row++) {
      let sum = bias ? bias[row] : 0;
      for (let i = 0; i < inner; i++, at++) sum += weight[at] * x[i];
      y[row] = sum;
    }
    return y;
  }

  norm(x, name, eps) {
    const scale = this.tensors.get(`${name}.weight`), shift = this.tensors.get(`${name}.bias`);
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length;
    return x.map((value, i) => ((value - mean) / Math.sqrt(variance + eps)) * scale[i] + shift[i]);
  }

  /** A token's vector, with its position's waves unless positions turn queries and keys. */
  embed(id, position, { rotary }) {
    const d = this.width, table = this.tensors.get("embedding.weight");
    return Float32Array.from({ length: d }, (_, i) => {
      const angle = position / 10000 ** ((i - (i % 2)) / d), wave = i % 2 ? Math.cos(angle) : Math.sin(angle);
      return table[id * d + i] * Math.sqrt(d) + (rotary ? 0 : wave);
    });
  }

  /** A query or key of self-attention with each head's pairs turned by their position, if positions are rotary. */
  turn(x, position, { n_heads, rotary }) {
    if (!rotary) return x;
    const size = x.length / n_heads;
    return x.map((value, i) => {
      const second = i % 2, angle = position / rotary ** (((i - second) % size) / size), other = x[second ? i - 1 : i + 1];
      return value * Math.cos(angle) + (second ? 1 : -1) * other * Math.sin(angle);
    });
  }

  /** Attention of one query to projected keys and values. Returns the output, and each head's weights. */
  attend(query, name, keys, values, heads) {
    const size = query.length / heads, blended = new Float32Array(query.length);
    const weights = [];
    for (let head = 0; head < heads; head++) {
      const from = head * size;
      const scores = keys.map((key) => {
        let sum = 0;
        for (let i = from; i < from + size; i++) sum += query[i] * key[i];
        return sum / Math.sqrt(size);
      });
      weights.push(softmax(scores));
      values.forEach((value, j) => {
        for (let i = from; i < from + size; i++) blended[i] += weights[head][j] * value[i];
      });
    }
    return { output: this.linear(blended, `${name}.o_proj`), weights };
  }

  feedForward(x, name) {
    return this.linear(this.linear(x, `${name}.up_proj`).map((value) => Math.max(0, value)), `${name}.down_proj`);
  }

  /** What the encoder makes of the source. */
  encode(ids) {
    const { n_layers, n_heads, norm_eps } = this.encoder;
    const turned = (vector, name, position) => this.turn(this.linear(vector, name), position, this.encoder);
    let x = ids.map((id, position) => this.embed(id, position, this.encoder));
    for (let layer = 0; layer < n_layers; layer++) {
      const name = `encoder.layers.${layer}`;
      const normed = x.map((vector) => this.norm(vector, `${name}.attention_residual.norm`, norm_eps));
      const queries = normed.map((vector, position) => turned(vector, `${name}.attention.q_proj`, position));
      const keys = normed.map((vector, position) => turned(vector, `${name}.attention.k_proj`, position));
      const values = normed.map((vector) => this.linear(vector, `${name}.attention.v_proj`));
      x = x.map((vector, i) => add(vector, this.attend(queries[i], `${name}.attention`, keys, values, n_heads).output));
      x = x.map((vector) => {
        const inner = this.norm(vector, `${name}.feed_forward_residual.norm`, norm_eps);
        return add(vector, this.feedForward(inner, `${name}.feed_forward`));
      });
    }
    return x.map((vector) => this.norm(vector, "encoder.final_norm", norm_eps));
  }

  /** An empty past, and the memory's keys and values for every layer. */
  start(memory) {
    return Array.from({ length: this.decoder.n_layers }, (_, layer) => {
      const name = `decoder.layers.${layer}.cross_attention`;
      return {
        keys: [], values: [],
        memoryKeys: memory.map((vector) => this.linear(vector, `${name}.k_proj`)),
        memoryValues: memory.map((vector) => this.linear(vector, `${name}.v_proj`)),
      };
    });
  }

  /** The past of a text as that of another that goes on from it; vectors are shared, since none changes. */
  fork(past) {
    return past.map((layer) => ({ ...layer, keys: [...layer.keys], values: [...layer.values] }));
  }

  /** Read one token. Returns the logits of the next, and the weights to the source by layer and head. */
  step(past, id) {
    const { n_heads, norm_eps } = this.decoder, looks = [], position = past[0].keys.length;
    let x = this.embed(id, position, this.decoder);
    past.forEach((kept, layer) => {
      const name = `decoder.layers.${layer}`;
      let inner = this.norm(x, `${name}.self_attention_residual.norm`, norm_eps);
      const query = this.turn(this.linear(inner, `${name}.self_attention.q_proj`), position, this.decoder);
      kept.keys.push(this.turn(this.linear(inner, `${name}.self_attention.k_proj`), position, this.decoder));
      kept.values.push(this.linear(inner, `${name}.self_attention.v_proj`));
      x = add(x, this.attend(query, `${name}.self_attention`, kept.keys, kept.values, n_heads).output);
      inner = this.norm(x, `${name}.cross_attention_residual.norm`, norm_eps);
      const asks = this.linear(inner, `${name}.cross_attention.q_proj`);
      const asked = this.attend(asks, `${name}.cross_attention`, kept.memoryKeys, kept.memoryValues, n_heads);
      x = add(x, asked.output);
      looks.push(asked.weights);
      inner = this.norm(x, `${name}.feed_forward_residual.norm`, norm_eps);
      x = add(x, this.feedForward(inner, `${name}.feed_forward`));
    });
    x = this.norm(x, "decoder.final_norm", norm_eps);
    return { logits: this.product(x, this.tensors.get("embedding.weight")), looks };
  }
}

const add = (a, b) => a.map((value, i) => value + b[i]);

// ---- Writing.

const NEVER = [0, BEGIN, UNKNOWN], ALPHA = 0.6;

/** Log-probabilities; tokens that are never written get minus infinity, as in transformer_lib.generation. */
export function logProbabilities(logits) {
  const allowed = Array.from(logits, (logit, id) => (NEVER.includes(id) ? -Infinity : logit));
  const largest = allowed.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = allowed.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return allowed.map((logit) => logit - largest - Math.log(sum));
}

/** The penalty of Wu et al. (2016) by which a sum of log-probabilities is divided. */
const penalty = (length) => ((5 + length) / 6) ** ALPHA;

/**
 * Write a text with one beam (greedily) or several, as transformer_lib.beam_search does.
 * A generator: after each step it yields the leading text, so that one can watch it grow.
 * A text is a list of {id, log, looks, rivals}.
 */
export function* write(model, memory, beams, longest) {
  const best = (numbers, count) => {
    const found = [];
    numbers.forEach((value, id) => {
      if (found.length < count || value > found[found.length - 1].value) {
        const at = found.findIndex((other) => value > other.value);
        found.splice(at < 0 ? found.length : at, 0, { id, value });
        if (found.length > count) found.pop();
      }
    });
    return found;
  };
  let alive = [{ text: [], total: 0, past: model.start(memory), last: BEGIN }];
  let ended = null;
  for (let step = 1; step <= longest && alive.length; step++) {
    const candidates = [];
    for (const beam of alive) {
      const { logits, looks } = model.step(beam.past, beam.last), logs = logProbabilities(logits);
      const likely = best(logs, Math.max(5, 2 * beams));
      const rivals = likely.slice(0, 5).map(({ id, value }) => ({ id, probability: Math.exp(value) }));
      for (const { id, value } of likely.slice(0, 2 * beams)) {
        candidates.push({ beam, total: beam.total + value, token: { id, log: value, looks, rivals } });
      }
    }
    candidates.sort((a, b) => b.total - a.total);
    const next = [];
    candidates.slice(0, 2 * beams).forEach(({ beam, total, token }, rank) => {
      const text = [...beam.text, token], ends = token.id === END || step === longest;
      if (ends && rank < beams) {
        const score = beams > 1 ? total / penalty(step) : total;
        if (!ended || score > ended.score) ended = { text, score };
      } else if (!ends && next.length < beams) next.push({ text, total, beam, last: token.id });
    });
    if (beams === 1 && ended) break;
    const reach = beams > 1 ? Math.max(penalty(Math.min(step + 1, longest)), penalty(longest)) : 1;
    if (!next.length || (ended && next[0].total / reach <= ended.score)) break;
    alive = next.map((one) => ({ ...one, past: model.fork(one.beam.past) }));
    yield alive[0].text;
  }
  if (ended) yield ended.text;
}

// ---- The weights: asked for by a click, from the page's own folder or from the kernel.

/** Put together what was sent in pieces. `header.tensors` lists names, places and sizes in the bytes. */
export function assemble(header, bytes) {
  const tensors = new Map(
    header.tensors.map(({ name, start, count }) => [name, widen(new Uint16Array(bytes.slice(start, start + 2 * count)))]),
  );
  const seen = header.seen && new SeenWords(header.seen);
  return { tokenizer: new Tokenizer(header.tokenizer), model: new TransformerModel(header.config, tensors), seen };
}

/** Load the weights as scripts, which a page may do even when it was opened from disk. */
async function fromPage(report) {
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href);
  const pieces = (globalThis.attentionTranslator = []);
  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = make("script", { src: new URL(`_static/translator/${name}.js`, root).href });
      script.onload = () => resolve(script.remove());
      script.onerror = () => reject(new Error(say("the translator's weights are not where the page expects them")));
      document.head.append(script);
    });
  await load("header");
  const header = pieces.pop();
  for (let number = 0; number < header.pieces; number++) {
    await load(String(number));
    report((number + 1) / header.pieces);
  }
  const parts = pieces.map((text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
  delete globalThis.attentionTranslator;
  return assemble(header, new Uint8Array(await new Blob(parts).arrayBuffer()).buffer);
}

/** Ask the kernel. */
function fromKernel(model, report) {
  return new Promise((resolve) => {
    model.on("msg:custom", function hear(message, buffers) {
      model.off("msg:custom", hear);
      report(1);
      const view = buffers[0];
      resolve(assemble(message, view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)));
    });
    model.send({ want: "weights" });
  });
}

// ---- The figure.

function render({ model, el }) {
  let translator = null, run = 0, text = [], source = [], chosen = 0;

  const load = button(say("Load the translator (8 MB)"), wake);
  const progress = make("progress", { max: 1, value: 0, "aria-label": say("loading"), hidden: true });
  const sentence = make("input", { type: "text", class: "lf-text", lang: "en", spellcheck: false, autocomplete: "off" });
  const examples = make("select", { onchange: () => { sentence.value = examples.value; start(); } },
    ...model.get("examples").map((example) => make("option", { text: example, value: example })));
  const search = make("select", { onchange: () => { keep(model, { beams: Number(search.value) }); start(); } },
    make("option", { value: 1, text: say("greedy") }), make("option", { value: 4, text: say("four beams") }));
  const go = make("button", { type: "submit", class: "lf-button", text: say("Translate") });
  const form = make("form", { class: "lf-form", onsubmit: (event) => { event.preventDefault(); start(); } },
    make("label", {}, make("span", { text: say("English") }), sentence),
    make("label", {}, make("span", { text: say("or an example") }), examples),
    make("label", {}, make("span", { text: say("search") }), search), go);
  // What is not read or written as it stands; always there, so that screen readers hear what comes into it.
  const notes = make("div", { class: "lf-warnings", role: "status", "aria-label": say("What is not read or written as it stands") });
  const english = make("div", { class: "lf-tokens", lang: "en" });
  const portuguese = make("div", { class: "lf-tokens", lang: "pt-BR", role: "toolbar", "aria-label": say("Translation, token by token") });
  const reach = walk(portuguese);
  const whole = make("p", { class: "lf-whole", lang: "pt-BR", role: "status" });
  const layer = make("select", { onchange: look },
    make("option", { value: "all", text: say("all layers") }),
    ...Array.from({ length: model.get("layers") }, (_, i) => make("option", { value: i, text: say("layer {number}", { number: i + 1 }) })));
  const rivals = make("ol", { class: "lf-rivals", "aria-label": say("The likeliest tokens at this step") });
  const note = make("p", { class: "lf-note", text: say("Choose a Portuguese token to see where the decoder looked when it wrote it, and what else it considered.") });
  const room = make("div", { hidden: true }, form, notes,
    make("p", { class: "lf-head", text: say("English tokens") }), english,
    make("p", { class: "lf-head", text: say("Portuguese, as it is written") }), portuguese, whole,
    make("div", { class: "lf-row" }, make("label", {}, ...spread("attention of {layers}", { layers: layer }))), note, rivals);
  frame(el,
    make("div", { class: "lf-load" },
      make("p", { lang: "en", text: model.get("sentence") }), load, progress,
      make("p", { class: "lf-note", text: say("Nothing that you type leaves this page.") })),
    room);

  async function wake() {
    load.disabled = true;
    progress.hidden = false;
    const report = (share) => (progress.value = share);
    try {
      translator = await (model.page ? fromPage(report) : fromKernel(model, report));
    } catch (error) {
      load.disabled = false;
      load.textContent = say("{reason}. Try again", { reason: error.message });
      return;
    }
    load.parentElement.hidden = true;
    room.hidden = false;
    sentence.value = model.get("sentence");
    search.value = model.get("beams");
    start();
    sentence.focus({ preventScroll: true });
  }

  /** Translate what stands in the field, and show the text as it grows. */
  async function start() {
    if (!translator) return;
    const mine = ++run, longest = model.get("longest");
    const reading = readText(translator.tokenizer, sentence.value, longest, translator.seen);
    text = [];
    if (!reading.text) {
      warn([say("There is nothing to translate: the sentence is empty.")]);
      for (const place of [english, portuguese, whole, rivals]) place.replaceChildren();
      return;
    }
    warn(reading.notes);
    source = reading.ids.map((id, i) => {
      if (id === UNKNOWN) return make("span", { class: "lf-token lf-unknown", text: say("{sign} (unknown)", { sign: reading.pieces[i] }) }, make("small"));
      if (!reading.guessed.includes(i)) return make("span", { class: "lf-token", text: spelled(id) }, make("small"));
      const heard = make("span", { class: "lf-heard", text: say("(never seen in training)") });
      return make("span", { class: "lf-token" }, make("u", { class: "lf-unseen", text: spelled(id) }), heard, make("small"));
    });
    english.replaceChildren(...source);
    if (reading.unread) source.at(-1).before(make("em", { class: "lf-cut", text: say("not read from here") }));
    const memory = translator.model.encode(reading.ids);
    for (const written of write(translator.model, memory, Number(search.value), longest)) {
      text = written;
      chosen = text.length - 1;
      show();
      await new Promise((resolve) => setTimeout(resolve, calm() ? 0 : 120));
      if (run !== mine) return; // another sentence was asked for
    }
    if (text.at(-1).id !== END) warn([...reading.notes, say("The translation was stopped after {count} tokens, before its end.", { count: longest })]);
    keep(model, { sentence: reading.text, translation: translator.tokenizer.decode(text.map((token) => token.id)), done: run });
    choose(0);
  }

  function warn(texts) {
    notes.replaceChildren(...texts.map((text) => make("p", { text })));
  }

  const spelled = (id) => (id === END ? say("end") : translator.tokenizer.tokens[id].replace("▁", "·"));

  function show() {
    portuguese.replaceChildren(...text.map((token, i) =>
      make("button", { type: "button", class: "lf-token", text: spelled(token.id), "aria-pressed": i === chosen,
        onclick: () => choose(i), onpointerenter: () => choose(i), onfocus: () => choose(i) })));
    reach(portuguese.children[chosen]);
    whole.textContent = translator.tokenizer.decode(text.map((token) => token.id));
    look();
  }

  function choose(i) {
    if (i === chosen) return;
    chosen = i;
    [...portuguese.children].forEach((token, j) => token.setAttribute("aria-pressed", j === chosen));
    reach(portuguese.children[chosen]);
    look();
  }

  /** The weights of the chosen token, the mean over heads, and its rivals. */
  function look() {
    const token = text[chosen];
    if (!token) return;
    const heads = layer.value === "all" ? token.looks.flat() : token.looks[Number(layer.value)];
    source.forEach((word, j) => {
      const weight = heads.reduce((sum, weights) => sum + (weights[j] ?? 0), 0) / heads.length;
      word.style.setProperty("--weight", weight);
      word.lastElementChild.textContent = number(weight);
    });
    rivals.replaceChildren(...token.rivals.map(({ id, probability }) =>
      make("li", { lang: "pt-BR" }, make("span", { text: spelled(id) }), make("span", { class: "lf-number", text: number(probability) }),
        make("span", { class: "lf-bar", style: `background:var(--lf-output);width:${10 * probability}rem` }))));
  }
}

export default figure(render);
