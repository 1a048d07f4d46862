// Chromium of the package `@sparticuz/chromium`, which brings the libraries and the fonts that it needs.
//
// As a program, `node chromium.mjs FOLDER` unpacks it and tries it; FOLDER holds the `node_modules` of `package.json`.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

/** A running browser; it is unpacked into `folder` when that was not done. */
export async function launch(folder) {
  const unpacked = path.join(folder, "unpacked");
  fs.mkdirSync(unpacked, { recursive: true });
  // this is how the package is told where to, and to bring its libraries along
  process.env.TMPDIR = unpacked;
  process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
  const { chromium } = createRequire(`${folder}/`)("playwright-core");
  const entry = path.join(folder, "node_modules/@sparticuz/chromium/build/esm/index.js");
  const packed = await import(pathToFileURL(entry));
  const executablePath = await packed.default.executablePath();
  // its own list of folders has the place where it unpacks the fonts by default, and not this one
  const fonts = path.join(unpacked, "fonts.conf");
  const escaped = unpacked.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  const folders = `<dir>${escaped}/fonts</dir><cachedir>${escaped}/fonts-cache</cachedir>`;
  fs.writeFileSync(fonts, `<?xml version="1.0"?>\n<fontconfig>${folders}</fontconfig>\n`);
  process.env.FONTCONFIG_FILE = fonts;
  return chromium.launch({ executablePath, args: ["--no-sandbox"], env: process.env });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const browser = await launch(path.resolve(process.argv[2]));
  console.log(browser.version());
  await browser.close();
}
