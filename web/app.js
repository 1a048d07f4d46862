// The frame around the pages: which one is shown, the colours, and whether the daemon answers.

import * as api from "./api.js";
import * as bench from "./bench.js";
import * as chat from "./chat.js";
import { byId, endToast, setText } from "./dom.js";
import * as machine from "./machine.js";
import * as models from "./models.js";
import { Store } from "./store.js";

const PAGES = { chat, models, machine, bench };
const TITLES = { models: "Models", machine: "Machine", bench: "Benchmarks" };
const THEMES = ["auto", "light", "dark"];
/** Milliseconds between two questions to a daemon that does not answer. */
const RETRY_EVERY = 2000;

let shown = null;

/** Shows the page that the address names: `#models`, or `#chat/` and a conversation. */
function route() {
  const [name, rest = ""] = location.hash.slice(1).split("/");
  if (name === "main") return;
  const wanted = Object.hasOwn(PAGES, name) ? name : "chat";
  const isOther = shown !== wanted;
  if (isOther && shown) {
    PAGES[shown].hide?.();
    endToast();
  }
  for (const page of Object.keys(PAGES)) byId(`view-${page}`).hidden = page !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const isFirst = shown === null;
  shown = wanted;
  PAGES[wanted].show(rest);
  document.title = `${TITLES[wanted] ?? chat.title()} – slm`;
  if (isOther && !isFirst && wanted !== "chat") byId(`${wanted}-title`).focus();
}

function showTheme(theme) {
  setText(byId("theme-name"), theme[0].toUpperCase() + theme.slice(1));
}

/** The next of automatic, light and dark. */
function changeTheme() {
  const root = document.documentElement;
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  try {
    localStorage.setItem("slm.theme", theme);
  } catch {
    // it is chosen anew next time
  }
  showTheme(theme);
}

let retryTimer = 0;

function reachable(is) {
  const wasOffline = !byId("offline").hidden;
  byId("offline").hidden = is;
  clearTimeout(retryTimer);
  if (!is) retryTimer = setTimeout(() => api.version().catch(() => {}), RETRY_EVERY);
  else if (wasOffline) route();
}

let storage;
try {
  storage = localStorage;
} catch {
  // a browser that keeps nothing: neither is anything found
  storage = {
    getItem: () => null,
    setItem: () => {
      throw new Error("nothing is kept");
    },
    removeItem() {},
  };
}
const store = new Store(storage);
chat.start(store);
models.start();
bench.start(store);
addEventListener("slm-reachable", ({ detail }) => reachable(detail));
addEventListener("hashchange", route);
byId("theme").addEventListener("click", changeTheme);
showTheme(document.documentElement.dataset.theme ?? "auto");
route();
