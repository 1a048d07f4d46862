// Numbers for people.

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];

/** Bytes, in powers of 1000, as downloads and disks are sold. */
export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  let unit = 0;
  while (Math.abs(n) >= 999.5 && unit < UNITS.length - 1) {
    n /= 1000;
    unit += 1;
  }
  return `${unit === 0 || n >= 99.5 ? Math.round(n) : n.toPrecision(2)} ${UNITS[unit]}`;
}

/** A whole number with separators. */
export const count = (n) => Math.round(n).toLocaleString("en");

/** Milliseconds as the unit that reads best. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 999.5) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.5) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

/** Tokens a second. */
export function speed(n) {
  if (!Number.isFinite(n)) return "–";
  return n >= 99.5 ? count(n) : n.toFixed(1);
}

/** The number of things, with their word. */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** The time of day, or the day too when it is not today. */
export function when(date, now = new Date()) {
  const time = date.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const isToday = date.toDateString() === now.toDateString();
  return isToday ? time : `${date.toLocaleDateString("en", { day: "numeric", month: "short" })} ${time}`;
}

/** A day. */
export const day = (date) => date.toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });

/** How long until `date`: "never" is farther than a person plans. */
export function until(date, now = Date.now()) {
  const ms = date.getTime() - now;
  if (!Number.isFinite(ms)) return "–";
  if (ms > 10 * 365 * 24 * 3600e3) return "never";
  return ms <= 0 ? "now" : `in ${duration(Math.max(ms, 1000))}`;
}
