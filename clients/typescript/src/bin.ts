#!/usr/bin/env node
/** The command `enclave-os-ts`. */

import { run } from "./cli.js";

process.exitCode = await run(process.argv.slice(2), console);
