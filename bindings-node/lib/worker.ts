// A worker of this package: started by the host, spoken to over pipes, never by hand. It is small on purpose: what it
// loads is what every worker's start costs.
import { native } from "./native.js";

try {
  native.runWorker(process.argv.slice(2));
} catch (error) {
  const { message, hint } = JSON.parse((error as Error).message) as { message: string; hint: string };
  process.stderr.write(`${message} (${hint})\n`);
  process.exitCode = 70;
}
