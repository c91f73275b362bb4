// Bundle editor.js with CodeMirror into one static file, with the licences of what is in it.

import { readFile, readdir } from "node:fs/promises";
import { build } from "esbuild";

const OUTPUT = "../segments/static/segments/editor.js";

const { metafile } = await build({ ...options(""), write: false, metafile: true });
const packages = new Set(
    Object.keys(Object.values(metafile.outputs)[0].inputs)
        .map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
        .filter(Boolean),
);
const notices = [];
for (const name of [...packages].sort()) {
    const folder = `node_modules/${name}`;
    const { version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    notices.push({ name: `${name} ${version} (${license})`, text: (await readFile(`${folder}/${file}`, "utf8")).trim() });
}
const texts = new Map();
for (const { name, text } of notices) texts.set(text, [...(texts.get(text) ?? []), name]);
const licences = [...texts].map(([text, names]) => `${names.join("\n")}\n\n${text}`).join("\n\n----\n\n");
await build(options(`/*!\nBuilt from frontend/editor.js; do not edit. It contains:\n\n${licences}\n*/`));

function options(banner) {
    return {
        entryPoints: ["editor.js"],
        outfile: OUTPUT,
        bundle: true,
        minify: true,
        format: "iife",
        target: ["es2022"],
        legalComments: "none",
        banner: { js: banner },
    };
}
