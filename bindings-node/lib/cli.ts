#!/usr/bin/env node
// `npx uplifted-ops`: the command line of the native half, with its arguments and its exit status.
import { native, workerFile } from "./native.js";

process.exitCode = native.runCli(["uplifted-ops", ...process.argv.slice(2)], JSON.stringify(workerFile()));
