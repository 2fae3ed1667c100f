// Runs smoke.py on the CPython of npm's pyodide: node run.mjs PYODIDE PACKAGES

import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [pyodide, packages] = process.argv.slice(2).map((name) => path.resolve(name));
const project = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const { loadPyodide } = await import(pathToFileURL(path.join(pyodide, "pyodide.mjs")));
const python = await loadPyodide();
for (const [folder, root] of [["/packages", packages], ["/project", project]]) {
  python.FS.mkdirTree(folder);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, folder);
}
try {
  python.runPython(`
import runpy, sys
sys.path[:0] = ["/project/src", "/packages"]
runpy.run_path("/project/tests/pyodide/smoke.py", run_name="__main__")
`);
} catch (error) {
  console.error(error.message); // the traceback of Python
  process.exitCode = 1;
}
