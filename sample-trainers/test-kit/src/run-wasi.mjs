// Runs a trainer under Node: `run-wasi.mjs start|steps MODULE ROOT ARGUMENTS...`; ROOT becomes `/`.
import { WASI } from 'node:wasi';
import fs from 'node:fs';

const [form, module, root, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: ['trainer', ...args], env: {}, preopens: { '/': root } });
const { instance } = await WebAssembly.instantiate(fs.readFileSync(module), wasi.getImportObject());
if (form === 'start') {
  process.exit(wasi.start(instance));
}
// Node wants to call `_start` or `_initialize` itself; a module that has neither is left alone.
const { memory, fedmkt_init, fedmkt_step } = instance.exports;
wasi.initialize({ exports: { memory } });
let code = fedmkt_init();
while (code === 0) {
  code = fedmkt_step();
}
process.exit(code === 1 ? 0 : code);
