// Opens pages of a site in headless Chromium and prints, as JSON, everything that is wrong with them.
//
//     node look_at_site.mjs TOOLS CHROMIUM SITE [SHOTS [PAGE.html ...]]
//
// TOOLS holds node_modules with axe-core and playwright-core; with SHOTS, pictures of the pages go into that folder.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const [tools, executablePath, site, shots, ...pages] = process.argv.slice(2);
const require = createRequire(path.resolve(tools, "x.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const args = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const all = () => fs.readdirSync(site, { recursive: true }).filter((name) => name.endsWith(".html")).sort();
const names = pages.length ? pages : all();
const found = [];
const browser = await chromium.launch({ executablePath, args });
try {
  for (const [colorScheme, width, height] of [
    ["light", 1280, 900], ["dark", 1280, 900], ["light", 360, 740], ["dark", 360, 740],
  ]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height } });
    await context.route(/^(?!file:)/, (route) => { found.push(`asks for ${route.request().url()}`); route.abort(); });
    for (const name of names) {
      const say = (words) => found.push(`${name}, ${colorScheme}, ${width}: ${words}`);
      const page = await context.newPage();
      page.on("console", (message) => say(message.text()));
      page.on("pageerror", (error) => say(String(error)));
      await page.goto(`file://${path.resolve(site, name)}`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run({ preload: false }));
      for (const { impact, id, nodes } of violations) say(`${impact} ${id}: ${nodes[0].html.slice(0, 200)}`);
      if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) say("wider than the screen");
      if (await page.evaluate(() => !document.styleSheets.length || getComputedStyle(document.body).margin !== "0px"))
        say("no style");
      for (const image of await page.$$("img")) {
        await image.scrollIntoViewIfNeeded();
        if (!(await image.evaluate((x) => x.decode().then(() => x.naturalWidth, () => 0)))) say("no picture");
      }
      for (const table of await page.$$("table.sortable")) (await wrongOrder(page, table)).forEach(say);
      if (shots) await page.screenshot({ path: path.join(shots, picture(name, colorScheme, width)), fullPage: true });
      await page.close();
    }
    await context.close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify({ pages: names.length, found }));

function picture(name, scheme, width) {
  return `${name.replaceAll("/", "_").replace(".html", "")}-${scheme}-${width}.png`;
}

// Sorts a table by keyboard by each of its headings, twice, and says where rows do not stand in order afterwards.
async function wrongOrder(page, table) {
  const wrong = [];
  for (const button of await table.$$("thead button")) {
    if (!(await button.isVisible())) continue; // a column that phones do without
    for (const turn of [0, 1]) {
      await button.focus();
      await page.keyboard.press("Enter");
      const bad = await button.evaluate((element) => {
        const head = element.closest("th"), table = element.closest("table");
        const order = head.getAttribute("aria-sort"), column = head.cellIndex;
        if (table.querySelectorAll("[aria-sort]").length !== 1) return "not one sorted column";
        for (const body of table.querySelectorAll("tbody:not(.references)")) {
          const rows = [...body.rows], titles = rows.filter((row) => row.cells.length === 1);
          if (titles.length > 1 || titles.some((row) => row !== rows[0])) return "a division's title is not on top";
          const cells = rows.slice(titles.length).map((row) => row.cells[column]);
          const known = cells.map((cell) => cell.dataset.value).filter((value) => value);
          if (cells.slice(0, known.length).some((cell) => cell.dataset.value === "")) return "an empty cell is not last";
          const numbers = known.map(Number), sign = order === "ascending" ? 1 : -1;
          if (numbers.some((x, i) => i && sign * (x - numbers[i - 1]) < 0)) return `not ${order}`;
        }
        return "";
      });
      if (bad) wrong.push(`${await button.textContent()}, turn ${turn}: ${bad}`);
    }
  }
  return wrong;
}
