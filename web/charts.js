// Drawings of numbers. They carry no text: what they show is said beside them, in words or in a table.

import { svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 48;

/** A line over time, from the oldest value to the newest; `label` is what it shows, in words. */
export function sparkline() {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const box = {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    class: "sparkline",
    "aria-hidden": "true",
  };
  const node = svg("svg", box, area, line);
  const draw = (values, slots) => {
    const top = Math.max(...values, 1e-9);
    const x = (index) => WIDTH - ((values.length - 1 - index) / (slots - 1)) * WIDTH;
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
    const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
    const path = points.length > 1 ? `M${points.join("L")}` : "";
    line.setAttribute("d", path);
    area.setAttribute("d", path && `${path}L${WIDTH},${HEIGHT}L${x(0).toFixed(1)},${HEIGHT}Z`);
  };
  return { node, draw };
}

/** A bar of parts, each `[class, share]` of the whole. */
export function stack(parts) {
  const node = svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", class: "stack", "aria-hidden": "true" });
  const draw = (now) => {
    let from = 0;
    node.replaceChildren(
      ...now.map(([name, share]) => {
        const width = Math.max(0, Math.min(100 - from, share * 100));
        const rect = svg("rect", { class: name, x: from, y: 0, width, height: 1 });
        from += width;
        return rect;
      }),
    );
  };
  draw(parts);
  return { node, draw };
}

/** A bar to `value` of `top`, with the range of the measurements over it. */
export function bar({ value, low, high, top, series }) {
  const x = (number) => (number / top) * 100;
  const box = {
    viewBox: "0 0 100 10",
    preserveAspectRatio: "none",
    class: `bar series-${series}`,
    "aria-hidden": "true",
  };
  const node = svg("svg", box, svg("rect", { x: 0, y: 1, width: x(value), height: 8 }));
  if (high > low) node.append(svg("path", { d: `M${x(low)},5H${x(high)}M${x(low)},3V7M${x(high)},3V7` }));
  return node;
}
