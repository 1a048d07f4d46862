// Markdown as models write it: parsed into plain values, and drawn as nodes without ever reading HTML.
//
// The text is hostile. Nesting is bounded, the time is about linear in the length, HTML stays text, pictures are links,
// and links lead to the web or to mail only. A block whose source has not changed keeps its node, so an answer that grows
// costs what its last block costs.

import { button, copy, el } from "./dom.js";

const MAX_NESTING = 8;
const MAX_OPENERS = 32;
const MAX_ADDRESS = 2000;
const MAX_COLUMNS = 64;

/**
 * The blocks of a text: `{t, raw, …}` with `t` one of `heading` (level, c), `code` (lang, text), `quote` (blocks),
 * `list` (start, items: {done, blocks}), `table` (align, head, rows), `rule`, `paragraph` (c). What is called `c`, the
 * head and the cells are inline values: `{t, …}` with `t` one of `text` (v), `code` (v), `em`, `strong`, `del` (c),
 * `link` (href, c), `br`.
 */
export function parse(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  return blocks(lines.map(withoutTabs), 0);
}

const withoutTabs = (line) => line.replace(/^[ \t]+/, (start) => start.replaceAll("\t", "    "));
const isBlank = (line) => line.trim() === "";
const indent = (line) => line.length - line.trimStart().length;

function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const [block, end] = blockAt(lines, at, depth);
    block.raw = lines.slice(at, end).join("\n");
    found.push(block);
    at = end;
  }
  return found;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = fenceOf(line);
  if (fence) return codeBlock(lines, at, fence);
  const level = headingLevel(line);
  if (level) return [{ t: "heading", level, c: inline(headingText(line, level)) }, at + 1];
  if (isRule(line)) return [{ t: "rule" }, at + 1];
  if (depth < MAX_NESTING) {
    if (isQuote(line)) return quote(lines, at, depth);
    if (markerOf(line)) return list(lines, at, depth);
  }
  return table(lines, at) ?? paragraph(lines, at, depth);
}

function fenceOf(line) {
  const match = /^( {0,3})(`{3,}|~{3,})/.exec(line);
  if (!match) return null;
  const lang = line.slice(match[0].length).trim();
  if (match[2][0] === "`" && lang.includes("`")) return null;
  return { indent: match[1].length, mark: match[2], lang: lang.split(/\s/)[0] };
}

function codeBlock(lines, at, fence) {
  const text = [];
  let end = at + 1;
  for (; end < lines.length; end++) {
    const line = lines[end].trim();
    const isClosing =
      line.length >= fence.mark.length && indent(lines[end]) < 4 && [...line].every((c) => c === fence.mark[0]);
    if (isClosing) {
      end += 1;
      break;
    }
    text.push(lines[end].slice(Math.min(fence.indent, indent(lines[end]))));
  }
  return [{ t: "code", lang: fence.lang, text: text.join("\n") }, end];
}

function headingLevel(line) {
  const match = /^ {0,3}(#{1,6})(?=[ \t]|$)/.exec(line);
  return match ? match[1].length : 0;
}

function headingText(line, level) {
  const text = line.trim().slice(level).trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === "#") end -= 1;
  return end === 0 || text[end - 1] === " " ? text.slice(0, end).trim() : text;
}

function isRule(line) {
  if (indent(line) > 3) return false;
  const marks = line.replace(/\s+/g, "");
  return marks.length >= 3 && "-*_".includes(marks[0]) && [...marks].every((c) => c === marks[0]);
}

const isQuote = (line) => /^ {0,3}>/.test(line);

function quote(lines, at, depth) {
  const inner = [];
  let end = at;
  for (; end < lines.length; end++) {
    const line = lines[end];
    if (isQuote(line)) inner.push(line.trimStart().slice(1).replace(/^ /, ""));
    // a paragraph goes on without the mark
    else if (!isBlank(line) && !isBlank(inner.at(-1)) && !beginsBlock(line)) inner.push(line);
    else break;
  }
  return [{ t: "quote", blocks: blocks(inner, depth + 1) }, end];
}

/** The mark that begins an item: where it stands, what comes behind it, and whether it is a number. */
function markerOf(line) {
  const match = /^( {0,3})([-*+]|\d{1,9}[.)])(?= |$)/.exec(line);
  if (!match || isRule(line)) return null;
  const [all, space, mark] = match;
  const gap = Math.min(Math.max(indent(line.slice(all.length)), 1), 4);
  const number = /\d/.test(mark) ? Number.parseInt(mark, 10) : null;
  return { base: space.length, width: all.length + gap, kind: mark.at(-1), number };
}

function list(lines, at, depth) {
  const first = markerOf(lines[at]);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const marker = markerOf(lines[end]);
    if (!marker || marker.kind !== first.kind) break;
    const [item, next] = itemLines(lines, end, marker);
    items.push(listItem(item, depth));
    end = next;
    // blank lines between two items
    let ahead = end;
    while (ahead < lines.length && isBlank(lines[ahead])) ahead += 1;
    const another = ahead < lines.length ? markerOf(lines[ahead]) : null;
    if (another?.kind === first.kind) end = ahead;
  }
  return [{ t: "list", start: first.number, items }, end];
}

/** The lines of one item without what stands before its content. */
function itemLines(lines, at, marker) {
  const inner = [lines[at].slice(marker.width)];
  // models often indent less than the mark is wide
  const least = Math.min(marker.width, marker.base + 2);
  let end = at + 1;
  while (end < lines.length) {
    let next = end;
    while (next < lines.length && isBlank(lines[next])) next += 1;
    if (next === lines.length) break;
    const line = lines[next];
    const isInside = indent(line) >= least;
    const goesOn =
      next === end && !isBlank(inner.at(-1)) && !beginsBlock(line) && !markerOf(line) && !fenceOf(inner[0]);
    if (!isInside && !goesOn) break;
    for (; end < next; end++) inner.push("");
    inner.push(line.slice(Math.min(indent(line), marker.width)));
    end = next + 1;
  }
  return [inner, end];
}

function listItem(lines, depth) {
  const task = /^\[([ xX])\] /.exec(lines[0]);
  if (task) lines[0] = lines[0].slice(4);
  const done = task ? task[1] !== " " : null;
  return { done, blocks: blocks(lines, depth + 1) };
}

/** Whether a line ends the paragraph before it. */
function beginsBlock(line) {
  if (fenceOf(line) || headingLevel(line) || isRule(line) || isQuote(line)) return true;
  const marker = markerOf(line);
  // a number that begins a line of prose begins no list
  return marker !== null && marker.width < line.length && (marker.number ?? 1) === 1;
}

function table(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|") || !lines[at + 1].includes("-")) return null;
  const head = cells(lines[at]);
  const marks = cells(lines[at + 1]);
  const isTable =
    head.length === marks.length && head.length <= MAX_COLUMNS && marks.every((mark) => /^:?-+:?$/.test(mark));
  if (!isTable) return null;
  const align = marks.map((mark) => {
    if (mark.endsWith(":")) return mark.startsWith(":") ? "center" : "right";
    return "left";
  });
  const rows = [];
  let end = at + 2;
  for (; end < lines.length && lines[end].includes("|") && !beginsBlock(lines[end]); end++) {
    const row = cells(lines[end]);
    rows.push(head.map((_, column) => inline(row[column] ?? "")));
  }
  return [{ t: "table", align, head: head.map((cell) => inline(cell)), rows }, end];
}

function cells(line) {
  const found = [];
  let text = line.trim();
  if (text.startsWith("|")) text = text.slice(1);
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    if (text[i] === "\\") {
      i += 1;
    } else if (i === text.length || text[i] === "|") {
      found.push(text.slice(start, i).trim().replaceAll("\\|", "|"));
      start = i + 1;
    }
  }
  if (found.length > 1 && found.at(-1) === "") found.pop();
  return found;
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end])) {
    if (depth < MAX_NESTING ? beginsBlock(lines[end]) : fenceOf(lines[end])) break;
    if (table(lines.slice(end, end + 2), 0)) break;
    end += 1;
  }
  const text = lines
    .slice(at, end)
    .map((line) => line.trimStart())
    .join("\n");
  return [{ t: "paragraph", c: inline(text) }, end];
}

const PLAIN = /[^\\`<!\[*_~\nh]+/y;
const PUNCTUATION = /[\p{P}\p{S}]/u;

/** The inline values of a text. */
export function inline(text, inLink = false) {
  return new Inline(text, inLink).run();
}

class Inline {
  constructor(text, inLink) {
    this.text = text;
    this.inLink = inLink;
    this.out = [];
    /** Marks that may begin something: `{mark, n, at, both}` with the place in `out`. */
    this.openers = [];
    this.closing = inLink ? new Map() : brackets(text);
    this.ticks = ticks(text);
  }

  run() {
    const { text } = this;
    let i = 0;
    while (i < text.length) {
      PLAIN.lastIndex = i;
      const plain = PLAIN.exec(text);
      if (plain) {
        this.put(plain[0]);
        i = PLAIN.lastIndex;
        continue;
      }
      i = this.special(i);
    }
    return merged(this.out);
  }

  put(text) {
    this.out.push({ t: "text", v: text });
  }

  /** Takes what begins at `i`, and says where it ends. */
  special(i) {
    const { text } = this;
    switch (text[i]) {
      case "\\":
        if (text[i + 1] === "\n") return this.lineBreak(i + 2);
        if (i + 1 < text.length && /[!-/:-@[-`{-~]/.test(text[i + 1])) {
          this.put(text[i + 1]);
          return i + 2;
        }
        break;
      case "\n":
        return this.lineBreak(i + 1);
      case "`":
        return this.code(i);
      case "<": {
        const end = this.angle(i);
        if (end) return end;
        break;
      }
      case "!":
        if (text[i + 1] === "[") {
          const end = this.link(i + 1, true);
          if (end) return end;
        }
        break;
      case "[": {
        const end = this.link(i, false);
        if (end) return end;
        break;
      }
      case "h": {
        const end = this.bare(i);
        if (end) return end;
        break;
      }
      default:
        return this.delimiter(i);
    }
    this.put(text[i]);
    return i + 1;
  }

  lineBreak(next) {
    const last = this.out.at(-1);
    if (last?.t === "text") last.v = last.v.trimEnd();
    this.out.push({ t: "br" });
    return next;
  }

  code(i) {
    const { text } = this;
    const n = run(text, i);
    const end = this.ticks.after(n, i);
    if (end < 0) {
      this.put(text.slice(i, i + n));
      return i + n;
    }
    let v = text.slice(i + n, end).replaceAll("\n", " ");
    if (v.startsWith(" ") && v.endsWith(" ") && v.trim()) v = v.slice(1, -1);
    this.out.push({ t: "code", v });
    return end + n;
  }

  /** `<https://…>`, and the line breaks that models put into tables; other HTML is text. */
  angle(i) {
    const ahead = this.text.slice(i, i + MAX_ADDRESS + 2);
    const line = /^<br ?\/?>/i.exec(ahead);
    if (line) return this.lineBreak(i + line[0].length);
    const address = /^<([^\s<>]+)>/.exec(ahead);
    const href = address && safe(address[1]);
    if (!href || this.inLink) return 0;
    this.out.push({ t: "link", href, c: [{ t: "text", v: address[1] }] });
    return i + address[0].length;
  }

  link(i, isPicture) {
    const close = this.closing.get(i);
    if (close === undefined || this.text[close + 1] !== "(") return 0;
    const target = destination(this.text, close + 2);
    const href = target && safe(target.address);
    if (!href) return 0;
    const label = this.text.slice(i + 1, close);
    const c = isPicture ? [{ t: "text", v: label || "Picture" }] : inline(label, true);
    this.out.push({ t: "link", href, c });
    return target.end;
  }

  /** An address in the text. */
  bare(i) {
    const { text } = this;
    const isStart = text.startsWith("http://", i) || text.startsWith("https://", i);
    if (!isStart || this.inLink || /\w/.test(text[i - 1] ?? "")) return 0;
    let address = /^[^\s<>"`]+/.exec(text.slice(i, i + MAX_ADDRESS))[0];
    while (/[.,;:!?'*_~|)\]]$/.test(address)) {
      const isPaired = address.endsWith(")") && address.includes("(");
      if (isPaired) break;
      address = address.slice(0, -1);
    }
    const href = safe(address);
    if (!href || /^https?:\/\/$/.test(address)) return 0;
    this.out.push({ t: "link", href, c: [{ t: "text", v: address }] });
    return i + address.length;
  }

  /** A run of `*`, `_` or `~`, which begins, ends, or is nothing. */
  delimiter(i) {
    const { text } = this;
    const mark = text[i];
    const length = run(text, i);
    const before = text[i - 1] ?? " ";
    const after = text[i + length] ?? " ";
    const isSpace = (c) => /\s/.test(c);
    const isMark = (c) => PUNCTUATION.test(c);
    const left = !isSpace(after) && (!isMark(after) || isSpace(before) || isMark(before));
    const right = !isSpace(before) && (!isMark(before) || isSpace(after) || isMark(after));
    const canOpen = mark === "_" ? left && (!right || isMark(before)) : left;
    const canClose = mark === "_" ? right && (!left || isMark(after)) : right;
    let n = mark === "~" && length !== 2 ? 0 : length;
    while (canClose && n > 0) {
      const opener = this.opener(mark, n, canOpen && canClose);
      if (!opener) break;
      const used = Math.min(opener.n, n) >= 2 ? 2 : 1;
      this.wrap(opener, used);
      n -= used;
    }
    if (n > 0 && canOpen && this.openers.length < MAX_OPENERS) {
      this.openers.push({ mark, n, at: this.out.length, both: canClose });
      this.put(mark.repeat(n));
    } else if (n > 0 || (mark === "~" && length !== 2)) {
      this.put(mark.repeat(n || length));
    }
    return i + length;
  }

  /** The nearest mark that a closing one ends. Those between the two begin nothing. */
  opener(mark, n, isBoth) {
    for (let k = this.openers.length - 1; k >= 0; k--) {
      const opener = this.openers[k];
      const isOdd = (isBoth || opener.both) && (opener.n + n) % 3 === 0 && (opener.n % 3 || n % 3);
      if (opener.mark === mark && !isOdd) {
        this.openers.length = k + 1;
        return opener;
      }
    }
    return null;
  }

  wrap(opener, used) {
    const c = merged(this.out.splice(opener.at + 1));
    const t = opener.mark === "~" ? "del" : used === 2 ? "strong" : "em";
    opener.n -= used;
    if (opener.n === 0) {
      this.openers.pop();
      this.out.pop();
    } else {
      this.out[opener.at].v = opener.mark.repeat(opener.n);
    }
    this.out.push({ t, c });
  }
}

function run(text, i) {
  let end = i;
  while (text[end] === text[i]) end += 1;
  return end - i;
}

/** Where each `[` is closed. */
function brackets(text) {
  const open = [];
  const closing = new Map();
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") i += 1;
    else if (text[i] === "[") open.push(i);
    else if (text[i] === "]" && open.length) closing.set(open.pop(), i);
  }
  return closing;
}

/** Runs of backticks by their length; asked in ascending order. */
function ticks(text) {
  const places = new Map();
  for (let i = text.indexOf("`"); i >= 0; i = text.indexOf("`", i)) {
    const n = run(text, i);
    if (!places.has(n)) places.set(n, []);
    places.get(n).push(i);
    i += n;
  }
  const passed = new Map();
  return {
    after(n, i) {
      const list = places.get(n) ?? [];
      let at = passed.get(n) ?? 0;
      while (at < list.length && list[at] <= i) at += 1;
      passed.set(n, at);
      return list[at] ?? -1;
    },
  };
}

/** The address in the parentheses whose content begins at `start`; a title is passed over. */
function destination(text, start) {
  const ahead = text.slice(start, start + MAX_ADDRESS);
  const pointed = /^\s*<([^<>\n]*)>/.exec(ahead);
  let address = pointed?.[1];
  let at = pointed?.[0].length ?? 0;
  if (!pointed) {
    at = indent(ahead);
    const begin = at;
    for (let open = 0; at < ahead.length && !/\s/.test(ahead[at]); at++) {
      if (ahead[at] === "(" && ++open > MAX_NESTING) return null;
      if (ahead[at] === ")" && open-- === 0) break;
    }
    address = ahead.slice(begin, at);
  }
  const rest = ahead.slice(at);
  const end = /^\s*(?:"[^"\n]*"|'[^'\n]*')?\s*\)/.exec(rest);
  return end && { address, end: start + at + end[0].length };
}

/** An address that a link may lead to, or null. */
export function safe(address) {
  if (address.length > MAX_ADDRESS || /[\u0000-\u0020\u007f]/.test(address)) return null;
  return /^(?:https?:\/\/[^/]|mailto:[^/])/i.test(address) ? address : null;
}

/** Neighbouring texts as one. */
function merged(values) {
  const result = [];
  for (const value of values) {
    const last = result.at(-1);
    if (value.t === "text" && last?.t === "text") last.v += value.v;
    else if (value.t !== "text" || value.v) result.push(value);
  }
  return result;
}

/** What is drawn in which node. */
const drawn = new WeakMap();

/** Draws `text` in `parent`; blocks that are there already stay. */
export function render(parent, text) {
  const before = drawn.get(parent) ?? [];
  const now = parse(text);
  const nodes = now.map((block, index) => {
    const old = before[index];
    if (old?.raw === block.raw) return old.node;
    if (old && block.t === "code" && old.t === "code" && old.lang === block.lang) {
      old.node.querySelector("code").textContent = block.text;
      return old.node;
    }
    return draw(block);
  });
  before.forEach((old, index) => old.node !== nodes[index] && old.node.remove());
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  drawn.set(
    parent,
    now.map(({ raw, t, lang }, index) => ({ raw, t, lang, node: nodes[index] })),
  );
}

function draw(block) {
  switch (block.t) {
    case "heading":
      // below the headings of the page
      return el(`h${Math.min(block.level + 2, 6)}`, {}, drawInline(block.c));
    case "code":
      return drawCode(block);
    case "quote":
      return el("blockquote", {}, block.blocks.map(draw));
    case "list":
      return drawList(block);
    case "table":
      return drawTable(block);
    case "rule":
      return el("hr");
    default:
      return el("p", {}, drawInline(block.c));
  }
}

function drawCode({ lang, text }) {
  const code = el("code", {}, text);
  const name = lang.slice(0, 30);
  const take = button("Copy", () => copy(code.textContent), { class: "quiet small", "aria-label": "Copy the code" });
  const head = el("div", { class: "code-head" }, el("span", {}, name), take);
  const pre = el("pre", { tabindex: "0", role: "region", "aria-label": name ? `Code, ${name}` : "Code" }, code);
  return el("div", { class: "code" }, head, pre);
}

function drawList({ start, items }) {
  const rows = items.map(({ done, blocks }) => {
    // a paragraph alone needs no space around it
    const inner = blocks.map((block) => (block.t === "paragraph" ? el("span", {}, drawInline(block.c)) : draw(block)));
    if (done === null) return el("li", {}, inner);
    const box = el("input", { type: "checkbox", disabled: true, checked: done, "aria-label": done ? "done" : "open" });
    return el("li", { class: "task" }, box, inner);
  });
  return start === null ? el("ul", {}, rows) : el("ol", { start: start === 1 ? null : start }, rows);
}

function drawTable({ align, head, rows }) {
  const cell = (tag, props) => (c, column) => el(tag, { ...props, class: align[column] }, drawInline(c));
  const top = el("tr", {}, head.map(cell("th", { scope: "col" })));
  const body = rows.map((row) => el("tr", {}, row.map(cell("td", {}))));
  const inner = el("table", {}, el("thead", {}, top), el("tbody", {}, body));
  return el("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Table" }, inner);
}

function drawInline(values) {
  return values.map((value) => {
    switch (value.t) {
      case "text":
        return value.v;
      case "code":
        return el("code", {}, value.v);
      case "br":
        return el("br");
      case "link":
        return el(
          "a",
          { href: value.href, target: "_blank", rel: "noopener noreferrer nofollow" },
          drawInline(value.c),
        );
      default:
        return el(value.t, {}, drawInline(value.c));
    }
  });
}
