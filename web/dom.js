// Building nodes. Text goes into text nodes only, so whatever a model or a registry says stays text.

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * An element. Of `props`, functions named `onEVENT` listen, `true` sets an empty attribute, `false`, `null` and
 * `undefined` set none, and all others are attributes. Children are nodes or texts; what is null or false is left out.
 */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for drawings. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

/** A button with a label for those who do not see what it stands beside. */
export function button(text, onclick, props = {}) {
  return el("button", { type: "button", onclick, ...props }, text);
}

/** A drawing of lines, 20 by 20; what it means has to be said beside it. */
export const icon = (path) =>
  svg("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, svg("path", { class: "stroke", d: path }));

/**
 * Makes the children of `parent` those that `items` stand for, and keeps the nodes of those that were there, so that
 * focus stays where it is. `make(item)` makes a node, `update(node, item)` brings it up to date.
 */
export function reconcile(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const wanted = items.map((item) => {
    const name = String(key(item));
    let node = known.get(name);
    if (!node) {
      node = make(item);
      node.dataset.key = name;
    }
    known.delete(name);
    update(node, item);
    return node;
  });
  for (const node of known.values()) node.remove();
  wanted.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

/** Sets the text of a node if it is another. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Tells screen readers something. */
export function announce(text) {
  const place = byId("announce");
  place.textContent = "";
  // a change that is made at once would not be noticed
  setTimeout(() => (place.textContent = text), 30);
}

let toastTimer = 0;

/** Shows something for a while, and tells it. */
export function toast(text) {
  const place = byId("toast");
  place.hidden = false;
  place.textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (place.hidden = true), 6000);
}

/** Takes away what was shown for a while: it was about something else. */
export function endToast() {
  byId("toast").hidden = true;
}

/** Opens a dialog and resolves to what closed it; "" is Escape. */
function closed(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    dialog.showModal();
  });
}

/** Asks before something that cannot be taken back. */
export async function confirmed(title, text, action) {
  byId("ask-field").hidden = true;
  return ask(title, text, action, true);
}

/** Asks for a name; null when nothing was chosen. */
export async function askName(title, name) {
  byId("ask-field").hidden = false;
  const input = byId("ask-input");
  input.value = name;
  const isChosen = await ask(title, "", "Save", false);
  return isChosen ? input.value.trim() || null : null;
}

async function ask(title, text, action, isDanger) {
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-text").hidden = !text;
  const yes = byId("ask-yes");
  yes.textContent = action;
  yes.classList.toggle("danger", isDanger);
  return (await closed(byId("ask"))) === "yes";
}

/** Puts a text on the clipboard; where the page may not, selects it for the person to copy. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pages that came by plain HTTP from another machine have no clipboard
    const area = el("textarea", { class: "sr", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    if (!isDone) return toast("The browser does not let this page copy.");
  }
  toast("Copied.");
}
