// The parts of the web page that need no browser: Markdown, streams, storage, and what is read from files.

import assert from "node:assert/strict";
import test from "node:test";

const module = (name) => import(new URL(`../../web/${name}.js`, import.meta.url));
const { inline, parse, safe } = await module("markdown");
const { LineSplitter } = await module("api");
const { MAX_CONVERSATIONS, newConversation, Store, StorageFull } = await module("store");
const format = await module("format");
const { read } = await module("bench");

/** Inline values as short text: `em(a)`. */
const brief = (values) =>
  values
    .map((v) => {
      if (v.t === "text") return v.v;
      return `${v.t}(${v.href ? `${v.href} ` : ""}${v.c ? brief(v.c) : (v.v ?? "")})`;
    })
    .join("");
const line = (text) => brief(inline(text));

test("inline marks are those of CommonMark", () => {
  // the expected values are those of the specification's examples, where it has them
  const examples = [
    ["*foo bar*", "em(foo bar)"],
    ["a * foo bar*", "a * foo bar*"],
    ["foo*bar*", "fooem(bar)"],
    ["_foo bar_", "em(foo bar)"],
    ["foo_bar_baz", "foo_bar_baz"],
    ["foo-_(bar)_", "foo-em((bar))"],
    ["**foo bar**", "strong(foo bar)"],
    ["__foo, __bar__, baz__", "strong(foo, strong(bar), baz)"],
    ["*foo**bar**baz*", "em(foostrong(bar)baz)"],
    ["*foo**bar*", "em(foo**bar)"],
    ["***foo** bar*", "em(strong(foo) bar)"],
    ["*foo **bar***", "em(foo strong(bar))"],
    ["foo***bar***baz", "fooem(strong(bar))baz"],
    ["** is not an empty emphasis", "** is not an empty emphasis"],
    ["*foo [bar*](/url)", "em(foo [bar)](/url)"],
    ["\\*not emphasized*", "*not emphasized*"],
    ["`` foo ` bar ``", "code(foo ` bar)"],
    ["` `` `", "code(``)"],
    ["`foo", "`foo"],
    ["*foo`*`", "*foocode(*)"],
    ["~~Hi~~ Hello, ~there~ world!", "del(Hi) Hello, ~there~ world!"],
    ["a\nb", "abr()b"],
  ];
  for (const [text, expected] of examples) assert.equal(line(text), expected, text);
});

test("links lead to the web or to mail, and to nothing else", () => {
  assert.equal(line("[a *b*](https://x.y/z_(1) 'title')"), "link(https://x.y/z_(1) a em(b))");
  assert.equal(line("[a](<https://x.y>)"), "link(https://x.y a)");
  assert.equal(line("![p](https://x.y)"), "link(https://x.y p)");
  assert.equal(
    line("see https://x.y/z, or (http://x.y/a)."),
    "see link(https://x.y/z https://x.y/z), or (link(http://x.y/a http://x.y/a)).",
  );
  assert.equal(line("<https://x.y> <mailto:a@b.c>"), "link(https://x.y https://x.y) link(mailto:a@b.c mailto:a@b.c)");
  assert.equal(line("[[a](https://x.y)](https://z.y)"), "link(https://z.y [a](https://x.y))");
  for (const bad of [
    "javascript:alert(1)",
    "JaVaScRiPt:x",
    "data:text/html,x",
    "/api/gc",
    "//x.y",
    "vbscript:x",
    "java\tscript:x",
    "http:/x",
    "https:///x",
    "file:///etc",
  ]) {
    assert.equal(safe(bad), null, bad);
    assert.ok(!line(`[a](${bad}) <${bad}>`).includes("link("), bad);
  }
});

test("blocks", () => {
  const shape = (blocks) =>
    blocks.map((block) => {
      switch (block.t) {
        case "heading":
          return `h${block.level}:${brief(block.c)}`;
        case "paragraph":
          return `p:${brief(block.c)}`;
        case "code":
          return `code ${block.lang}:${block.text}`;
        case "quote":
          return [">", ...shape(block.blocks)];
        case "list":
          return [
            block.start ?? "-",
            ...block.items.map((item) => [...(item.done === null ? [] : [item.done]), ...shape(item.blocks)]),
          ];
        case "table":
          return ["table", block.align.join(), block.head.map(brief), ...block.rows.map((row) => row.map(brief))];
        default:
          return block.t;
      }
    });
  const check = (text, expected) => assert.deepEqual(shape(parse(text)), expected, text);
  check("# a #\n###### b\n####### c\n#d", ["h1:a", "h6:b", "p:####### cbr()#d"]);
  check("a\n\n\nb", ["p:a", "p:b"]);
  check("```js\na\n\n  b\n```\nc", ["code js:a\n\n  b", "p:c"]);
  check("~~~\na\n```\n~~~", ["code :a\n```"]);
  check("```\nunfinished", ["code :unfinished"]);
  check("- a\n- b\n\n  c\n- d", [["-", ["p:a"], ["p:b", "p:c"], ["p:d"]]]);
  check("3. a\n   - b\n4. c", [[3, ["p:a", ["-", ["p:b"]]], ["p:c"]]]);
  check("1. a\n  - less indented\n", [[1, ["p:a", ["-", ["p:less indented"]]]]]);
  check("1. a\n\n   ```\n   x\n   ```\n2. b", [[1, ["p:a", "code :x"], ["p:b"]]]);
  check("- [x] a\n- [ ] b", [["-", [true, "p:a"], [false, "p:b"]]]);
  check("a\n- b", ["p:a", ["-", ["p:b"]]]);
  check("In\n1986. What a year", ["p:Inbr()1986. What a year"]);
  check("> a\nlazy\n> > b", [[">", "p:abr()lazy", [">", "p:b"]]]);
  check("***\n- - -\n___", ["rule", "rule", "rule"]);
  check("| a | b |\n|:-|-:|\n| 1 | x \\| y |\n| 2 |", [["table", "left,right", ["a", "b"], ["1", "x | y"], ["2", ""]]]);
  check("text\n\n| a |\n| - |", ["p:text", ["table", "left", ["a"]]]);
  check("a | b\nc | d", ["p:a | bbr()c | d"]);
  check("<div>\n*a*\n</div>", ["p:<div>br()em(a)br()</div>"]);
});

test("no text takes long or overflows the stack", () => {
  const n = 20_000;
  const hard = {
    brackets: "[".repeat(n),
    "empty links": "[](".repeat(n),
    stars: "*a ".repeat(n),
    "ending stars": "a* ".repeat(n),
    "stars within": "a*b".repeat(n),
    underscores: `${"_".repeat(n)}a${"_".repeat(n)}`,
    angles: "<".repeat(n),
    quotes: ">".repeat(n),
    lists: "- ".repeat(n),
    "deep lists": Array.from({ length: 1500 }, (_, i) => `${" ".repeat(i)}- a`).join("\n"),
    tables: "a|b\n-|-\n".repeat(n / 4),
    wide: `${"|a".repeat(n)}\n${"|-".repeat(n)}`,
    ticks: Array.from({ length: 300 }, (_, i) => "`".repeat(i)).join(" "),
    nested: `${"*a ".repeat(n)}${"b* ".repeat(n)}`,
    blank: `- a\n${"\n".repeat(n)}b`,
    addresses: "http://".repeat(n),
    spaces: `# ${" ".repeat(n)}x`,
  };
  // each takes milliseconds; if one were quadratic, whoever runs this would lose patience
  for (const [name, text] of Object.entries(hard)) assert.ok(parse(text).length > 0, name);
});

test("a text that is cut anywhere is drawn, and its first blocks stay", () => {
  const text = "# a\n\n- b\n  - *c*\n\n```js\nd\n```\n\n| e |\n|-|\n| f |\n\n> g [h](https://i.j)";
  const whole = parse(text);
  for (let end = 0; end <= text.length; end++) {
    const part = parse(text.slice(0, end));
    part.slice(0, -1).forEach((block, index) => assert.equal(block.raw, whole[index].raw, `${end}`));
  }
});

test("lines of a stream are whole, wherever they were cut", () => {
  const text = '{"a":1}\n\n{"b":"x\\ny"}\n{"c":3}';
  for (let cut = 0; cut <= text.length; cut++) {
    const splitter = new LineSplitter();
    const values = [...splitter.push(text.slice(0, cut)), ...splitter.push(text.slice(cut)), ...splitter.end()];
    assert.deepEqual(values, [{ a: 1 }, { b: "x\ny" }, { c: 3 }]);
  }
  assert.throws(() => new LineSplitter().push("no JSON\n"), SyntaxError);
});

/** What a browser's storage does; entries are its own keys, as there. */
class Storage {
  getItem(key) {
    return Object.hasOwn(this, key) ? this[key] : null;
  }
  setItem(key, value) {
    if (value.length > 1000) throw new Error("QuotaExceededError");
    this[key] = value;
  }
  removeItem(key) {
    delete this[key];
  }
}

test("conversations are kept, bounded, and read with suspicion", () => {
  const storage = new Storage();
  const store = new Store(storage);
  const made = Array.from({ length: MAX_CONVERSATIONS + 3 }, (_, updated) => ({
    ...newConversation("m"),
    updated,
    title: `t${updated}`,
  }));
  made.forEach((conversation) => store.save(conversation));
  const titles = store.list().map(({ title }) => title);
  assert.equal(titles.length, MAX_CONVERSATIONS);
  assert.deepEqual([titles[0], titles.at(-1)], [`t${MAX_CONVERSATIONS + 2}`, "t3"]);
  store.save({ ...made.at(-2), updated: 1e9 });
  assert.equal(new Store(storage).list()[0].id, made.at(-2).id);
  store.remove(made.at(-2).id);
  assert.equal(store.get(made.at(-2).id), null);

  const messages = [{ role: "user", content: "x".repeat(2000) }];
  assert.throws(() => store.save({ ...newConversation("m"), messages }), StorageFull);

  storage["slm.chat.broken"] = "{";
  storage["slm.chat.list"] = "[]";
  storage["slm.chat.odd"] = JSON.stringify({
    title: 3,
    options: [],
    messages: [null, { role: "x" }, { role: "user", content: {} }, { role: "assistant", content: "a" }],
  });
  const again = new Store(storage);
  assert.equal(again.get("broken"), null);
  assert.equal(again.get("list"), null);
  const odd = again.get("odd");
  assert.deepEqual([odd.title, odd.options, odd.messages.map(({ content }) => content)], ["", {}, ["", "a"]]);
});

test("numbers for people", () => {
  const { bytes, duration, speed, until } = format;
  assert.deepEqual([0, 999, 1000, 97_600_000, 999_600_000].map(bytes), ["0 B", "999 B", "1.0 KB", "98 MB", "1.0 GB"]);
  assert.deepEqual([0.5, 12, 999.4, 1500, 61_000, 3_600_000, 1e9].map(duration), [
    "0.50 ms",
    "12 ms",
    "999 ms",
    "1.5 s",
    "1 min 1 s",
    "60 min",
    "12 days",
  ]);
  assert.deepEqual([41.53, 1234.5, undefined].map(speed), ["41.5", "1,235", "–"]);
  const date = (ms) => until(new Date(ms), 0);
  assert.deepEqual([date(-5), date(90_000), date(400 * 365 * 24 * 3600e3)], ["now", "in 1 min 30 s", "never"]);
});

test("results of benchmarks, ours and those of llama-bench", () => {
  const ours = {
    model_type: "llama 134M Q4_1",
    tier: "avx2",
    n_threads: 2,
    n_prompt: 512,
    n_gen: 0,
    n_depth: 0,
    test: "pp512",
    median_ts: 300,
    avg_ts: 299,
    min_ts: 290,
    max_ts: 310,
    ceiling_share: 0.6,
  };
  const theirs = {
    model_type: "llama ?B Q4_1",
    n_threads: 2,
    n_prompt: 0,
    n_gen: 128,
    n_depth: 64,
    avg_ts: 40,
    samples_ts: [39, 41],
  };
  const rows = read(`[${JSON.stringify(ours)}]`, "a").concat(read(`${JSON.stringify(theirs)}\n`, "b"));
  assert.deepEqual(
    rows.map((r) => [r.test, r.speed, r.low, r.high, r.share]),
    [
      ["pp512", 300, 290, 310, 0.6],
      ["tg128 @ d64", 40, 39, 41, null],
    ],
  );
  const load = { model_id: "m", max_concurrency: 8, output_throughput: 50.5, median_ttft_ms: 12, completed: 16, failed: 0 };
  const [server] = read(JSON.stringify(load), "c");
  assert.deepEqual(
    [server.isServer, server.test, server.speed, server.ttft, server.ttft99, server.done],
    [true, "8 at once", 50.5, 12, null, 16],
  );
  for (const bad of ["", "[]", "{}", "[1]", "[null]", "x", '[{"avg_ts":"1"}]', '[{"avg_ts":-1}]']) {
    assert.throws(() => read(bad, "f.json"), /f\.json holds no results/, bad);
  }
});
