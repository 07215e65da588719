// Bundles what the console's pages load into the folder named, with the licences of all that ended in the bundles:
//
//     node build.mjs FOLDER
//
// tools/assets runs it: it installs what package-lock.json says first, and compresses what comes out.
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const BUNDLES = [
  { entry: "htmx.js", format: "iife" }, // classic scripts, each leaves one global behind
  { entry: "idiomorph.js", format: "iife" },
  { entry: "editor.js", format: "esm" },
  { entry: "charts.js", format: "esm" },
  { entry: "charts.css" },
  { entry: "graph.js", format: "esm" },
];

/** Writes one bundle; gives the files that ended in it. */
async function bundle({ entry, format }, folder) {
  const done = await esbuild.build({
    absWorkingDir: here,
    entryPoints: [path.join("src", entry)],
    outfile: path.join(folder, entry),
    bundle: true,
    minify: true,
    format,
    target: "es2022",
    charset: "utf8",
    legalComments: "none", // they are in LICENSES.txt, with those of comments that esbuild would not keep
    banner: Object.fromEntries(["js", "css"].map((kind) => [kind, "/*! licences: LICENSES.txt */"])),
    metafile: true,
    logLevel: "warning",
  });
  const [output] = Object.values(done.metafile.outputs);
  const inputs = Object.keys(done.metafile.inputs);
  // An @import of a stylesheet contributes without being counted among the output's inputs in every esbuild.
  return entry.endsWith(".css") ? inputs : inputs.filter((input) => output.inputs[input]?.bytesInOutput > 0);
}

/** The package that a file of node_modules belongs to: its folder; null for a file of ours. */
function packageOf(file) {
  const start = file.lastIndexOf("node_modules/");
  if (start < 0) return null;
  const words = file.slice(start).split("/");
  return file.slice(0, start) + words.slice(0, words[1].startsWith("@") ? 3 : 2).join("/");
}

/** Comments of a file that tell whose code it is. */
function notices(source) {
  return (source.match(/\/\*[^]*?\*\//g) ?? []).filter((comment) => /copyright|\blicen[cs]ed?\b/i.test(comment));
}

/** What LICENSES.txt says of one package. */
async function licence(folder, files) {
  const about = JSON.parse(await readFile(path.join(here, folder, "package.json"), "utf8"));
  const names = (await readdir(path.join(here, folder))).filter((name) => /^(licen[cs]e|notice|copying)/i.test(name));
  if (!names.some((name) => !/^notice/i.test(name))) {
    throw new Error(`${about.name} ${about.version} ends in a bundle and brings no licence: do without it, or add one`);
  }
  const texts = [];
  for (const name of names.sort()) texts.push((await readFile(path.join(here, folder, name), "utf8")).trim());
  for (const file of files.sort()) {
    for (const notice of notices(await readFile(path.join(here, file), "utf8"))) {
      if (!texts.some((text) => text.includes(notice))) texts.push(notice.trim());
    }
  }
  const head = `${about.name} ${about.version} (${about.license ?? "licence below"})`;
  return `${"=".repeat(100)}\n${head}\n${"=".repeat(100)}\n\n${texts.join("\n\n")}\n`.replaceAll("\r\n", "\n");
}

const folder = path.resolve(process.argv[2]);
await mkdir(folder, { recursive: true });
const packages = new Map(); // folder of a package -> its files in the bundles
for (const one of BUNDLES) {
  for (const file of await bundle(one, folder)) {
    const owner = packageOf(file);
    if (owner) packages.set(owner, [...new Set([...(packages.get(owner) ?? []), file])]);
  }
}
const parts = ["The scripts and styles in this folder are made of these packages.\n"];
for (const owner of [...packages.keys()].sort()) parts.push(await licence(owner, packages.get(owner)));
await writeFile(path.join(folder, "LICENSES.txt"), parts.join("\n"));
