/** The command's report and exit status. */

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";

import { run } from "../../src/cli.js";
import { printable } from "../../src/printable.js";
import { TestPlatform, policyText } from "../support/pki.js";
import { TestServer } from "../support/server.js";

interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function cli(...argv: string[]): Promise<Ran> {
  const [out, err]: [string[], string[]] = [[], []];
  const status = await run(argv, { log: (text) => out.push(text), error: (text) => err.push(text) });
  return { status, out: out.join("\n"), err: err.join("\n") };
}

async function file(context: TestContext, name: string, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "enclave-os-ts-"));
  context.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, name), text);
  return join(folder, name);
}

test("what was asked wrongly is told with the usage", async (context) => {
  const policy = await file(context, "policy.toml", "");
  for (const argv of [[], ["verify"], ["verify", "a:1"], ["verify", "a:1", "b:2", "--policy", policy], ["inspect", "a:1"], ["verify", "a:1", "--tier", "best", "--policy", policy], ["verify", "--what"]]) {
    const { status, err } = await cli(...argv);
    assert.equal(status, 2, argv.join(" "));
    assert.match(err, /Usage:/, argv.join(" "));
  }
  const { status, err } = await cli("verify", "127.0.0.1:1", "--policy", policy);
  assert.equal(status, 2);
  assert.match(err, /format/);
  assert.equal((await cli("--help")).status, 0);
});

test("a refused enclave is reported with what failed, for people and for programs", async (context) => {
  const server = await TestServer.start();
  context.after(() => server.stop());
  const policy = await file(context, "policy.toml", policyText(new TestPlatform(), "", "channel"));
  const report = await cli("verify", server.address, "--policy", policy);
  assert.equal(report.status, 1);
  assert.match(report.out, /^REFUSED/);
  assert.match(report.out, /FAILED root: this root says DEVELOPMENT/);
  const json = await cli("verify", server.address, "--policy", policy, "--json", "--tier", "certificate");
  assert.equal(json.status, 1);
  const verdict = JSON.parse(json.out) as { accepted: boolean; tier: string; checks: { check: string; passed: boolean }[] };
  assert.equal(verdict.accepted, false);
  assert.equal(verdict.tier, "certificate");
  assert.equal(verdict.checks.find(({ check }) => check === "root")?.passed, false);
});

test("an evidence document is judged without a connection", async (context) => {
  const policy = await file(context, "policy.toml", policyText(new TestPlatform()));
  const document = await file(context, "evidence.json", "{}");
  const { status, out } = await cli("verify", "--evidence", document, "--policy", policy);
  assert.equal(status, 1);
  assert.match(out, /FAILED evidence-format: evidence has no format/);
});

test("what a peer says cannot steer a terminal", async (context) => {
  const hostile = "\u001b[2J\r\nACCEPTED\u0007\u007f\u009b\u2028\u202eevil\u2066\u2069\u00fc";
  const shown = "\\u001b[2J\\u000d\\u000aACCEPTED\\u0007\\u007f\\u009b\\u2028\\u202eevil\\u2066\\u2069\u00fc";
  assert.equal(printable(hostile), shown);
  assert.equal(printable("a\nb\tc\r", "\n\t"), "a\nb\tc\\u000d");
  const server = await TestServer.start({ refuseAttest: hostile });
  context.after(() => server.stop());
  const policy = await file(context, "policy.toml", policyText(server.platform, "", "channel"));
  const refused = await cli("verify", server.address, "--policy", policy);
  assert.equal(refused.status, 2);
  assert.ok(refused.err.includes(shown), refused.err);
  assert.equal(printable(refused.err), refused.err);

  const named = await TestServer.start({ names: [hostile] });
  context.after(() => named.stop());
  const own = await file(context, "policy.toml", policyText(named.platform, "", "channel"));
  const asked = ["verify", named.address, "--policy", own, "--server-name", "other.example"];
  for (const more of [[], ["--json"]]) {
    const report = await cli(...asked, ...more);
    assert.equal(report.status, 1);
    assert.match(report.out, /server-name/);
    assert.equal(printable(report.out, "\n"), report.out);
  }
  const document = await file(context, "evidence.json", JSON.stringify({ [hostile]: 1 }));
  const offline = await cli("verify", "--evidence", document, "--policy", own);
  assert.equal(printable(offline.out, "\n"), offline.out);
});
