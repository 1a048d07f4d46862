// Takes the pictures of the web page that the README shows: a conversation with a real model, in both colours.
//
//   node pictures.mjs DAEMON MODEL FOLDER
//
// SLM_BROWSER names the folder with Playwright and Chromium. `cargo xtask pictures` runs this.

import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { launch } from "./chromium.mjs";

const [address, model, out] = process.argv.slice(2);
const QUESTIONS = [
  "What is Rust, the programming language? Answer in one sentence.",
  "Give me three reasons to read books.",
];

const browser = await launch(process.env.SLM_BROWSER);
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 700 }, reducedMotion: "reduce" });
  page.setDefaultTimeout(60_000);
  await page.goto(`http://${address}`);
  await page.locator("#model option", { hasText: model }).waitFor({ state: "attached" });
  await page.getByLabel("Model", { exact: true }).selectOption(model);
  for (const question of QUESTIONS) {
    await page.getByLabel("Message", { exact: true }).fill(question);
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
    await page.getByRole("button", { name: "Send", exact: true }).waitFor();
  }
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(200);
    const file = path.join(out, `page-${colorScheme}.png`);
    await page.screenshot({ path: file });
    console.log(`${file}: ${Math.ceil(fs.statSync(file).size / 1000)} KB`);
  }
} finally {
  await browser.close();
}
