// Bundles the page into ../assets and writes ../assets.json. The same lock file gives the same bytes.
//
//   npm run build     downloads what the lock file names, then builds

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const assets = join(here, "..", "assets");

/** Packages that are published without their licence, and one of the same repository or author that has it. */
const SAME_LICENCE = {
  "@graphiql/plugin-doc-explorer": "graphiql",
  "@graphiql/plugin-history": "graphiql",
  "react-compiler-runtime": "react",
  "react-remove-scroll-bar": "react-remove-scroll",
  "toggle-selection": "copy-to-clipboard",
};

const replaced = {
  name: "replaced",
  setup({ onResolve }) {
    onResolve({ filter: /^react-style-singleton$/ }, () => ({ path: join(here, "src/style-singleton.js") }));
    onResolve({ filter: /\/image-preview\.js$/ }, () => ({ path: join(here, "src/image-preview.js") }));
  },
};

const { outputFiles, metafile } = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.js"],
  outdir: "out",
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [replaced],
});
const bundled = (extension) => outputFiles.find((file) => file.path.endsWith(extension)).text;

const packages = bundledPackages();
const notices = named("notices", "txt", noticesOf(packages));
const pointer = `/*! Third-party notices: ${notices.name} */\n`;
const files = [
  named("graphiql", "js", pointer + bundled(".js")),
  named("graphiql", "css", pointer + bundled(".css").replace(/@font-face\{[^}]*\}/g, "")),
  notices,
];

rmSync(assets, { recursive: true, force: true });
mkdirSync(assets);
for (const file of files) {
  writeFileSync(join(assets, file.name), file.bytes);
}
const manifest = {
  version: packages.find((each) => each.name === "graphiql").version,
  files: files.map(({ name, bytes, sha256 }) => ({ name, bytes: bytes.length, sha256 })),
  packages: packages.map(({ name, version }) => `${name} ${version}`),
};
writeFileSync(join(here, "..", "assets.json"), `${JSON.stringify(manifest, null, 2)}\n`);
for (const file of manifest.files) {
  console.log(`${file.sha256}  ${file.name}  ${file.bytes}`);
}

/** A file whose name says what is in it, so that browsers may keep it for ever. */
function named(stem, extension, text) {
  const bytes = Buffer.from(text, "utf8");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { name: `${stem}-${sha256.slice(0, 16)}.${extension}`, sha256, bytes };
}

/** The packages of which something is in the bundle, by name. */
function bundledPackages() {
  const folders = new Set();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const folder = input.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//)?.[1];
      if (folder && bytesInOutput > 0) {
        folders.add(folder);
      }
    }
  }
  return [...folders]
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf8"));
      return { name, version, license, text: licenceOf(name, join(here, folder)) };
    })
    .sort((a, b) => compare(a.name, b.name) || compare(a.version, b.version));
}

function compare(a, b) {
  return a < b ? -1 : Number(a > b);
}

function licenceOf(name, folder) {
  const other = SAME_LICENCE[name];
  const home = other ? join(here, "node_modules", other) : folder;
  const found = readdirSync(home).filter((each) => /^(licen[cs]e|notice)(-[a-z0-9]+)?(\.(md|txt))?$/i.test(each));
  if (found.length === 0) {
    throw new Error(`${name} is published without its licence: say in SAME_LICENCE whose it has`);
  }
  return found
    .sort(compare)
    .map((each) => readFileSync(join(home, each), "utf8").replace(/\r\n?/g, "\n").trim())
    .join("\n\n");
}

/** The licences, each once, with the packages that come under it. */
function noticesOf(all) {
  const byText = new Map();
  for (const each of all) {
    byText.set(each.text, [...(byText.get(each.text) ?? []), each]);
  }
  const line = "-".repeat(80);
  const parts = [...byText].map(([text, under]) => {
    const heads = under.map(({ name, version, license }) => `${name} ${version} (${license})`);
    return `${heads.join("\n")}\n\n${text}\n`;
  });
  return `What the GraphiQL page of gnj is made of, and the licences of its parts.\n\n${parts.join(`\n${line}\n\n`)}`;
}
