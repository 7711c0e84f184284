// The same service in several processes, with the cluster of Node:
//
//     node dist/src/workers.js 4 --root /opt/uplifted
//
// What they count is one sum, on the page of any of them; one of them has the address of `metrics.listen`, and another one
// takes it over.
import cluster from "node:cluster";
import { join } from "node:path";

const [workers = "4", ...args] = process.argv.slice(2);
let isStopping = false;

cluster.setupPrimary({ exec: join(import.meta.dirname, "app.js"), args });
for (let number = 0; number < Number(workers); number += 1) cluster.fork();
cluster.on("exit", () => {
  if (!isStopping) cluster.fork();
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    isStopping = true;
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill(signal);
  });
}
