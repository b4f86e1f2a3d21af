/** JSON, DER, PEM, moments and hashes: one value has one spelling, and known answers hold. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBase64, fromBase64Url, fromHex, toHex } from "../../src/bytes.js";
import { DerError, DerReader, oid, time, unsigned } from "../../src/der.js";
import { JsonError, canonical, parseJson } from "../../src/json.js";
import { Manifest, Proof } from "../../src/manifest.js";
import { type InclusionProof, leafHash, nodeHash, provenRoot, treeRoot } from "../../src/merkle.js";
import { certificatesOfPem, pemOf } from "../../src/pem.js";
import {
  certificateReportData,
  challengeReportData,
  channelReportData,
  evidenceReportData,
} from "../../src/report-data.js";
import { fromInstant, fromRfc3339 } from "../../src/time.js";
import { Certificate } from "../../src/x509.js";
import { manifestJson } from "../support/documents.js";
import { TestAuthority, TestPlatform, keys } from "../support/pki.js";

test("JSON is read as RFC 8259 has it and no further", () => {
  assert.deepEqual(parseJson(' {"a":[1,-0.5e1,true,null,"\\u00e9\\n\\ud83d\\ude00"]} '), Object.assign(Object.create(null), { a: [1, -5, true, null, "é\n😀"] }));
  assert.equal(parseJson("9007199254740993"), 9007199254740993n);
  assert.equal(parseJson("18446744073709551616"), 2 ** 64);
  const own = parseJson('{"__proto__":1}') as Record<string, unknown>;
  assert.deepEqual(Object.keys(own), ["__proto__"]);
  for (const text of [
    "", "01", "1.", ".5", "+1", "1e", "1e400", "nul", "'a'", '"a', '"\n"', '"\\x"', '"\\u12"', '"\\ud800"', "[1,]", "[1 2]",
    '{"a":1,}', '{"a"}', "{a:1}", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', "1 2", "[".repeat(200) + "]".repeat(200),
  ]) {
    assert.throws(() => parseJson(text), JsonError, text);
  }
});

test("canonical JSON sorts by UTF-16 units, writes numbers as ECMAScript does, and rounds nothing", () => {
  const value = parseJson('{"\\u20ac":1.0,"\\r":2,"1":3e21,"\\ud83d\\ude00":-0,"\\ufb33":1e-7,"b":{"z":1,"a":"\\u000f\\/"}}');
  assert.equal(canonical(value), '{"\\r":2,"1":3e+21,"b":{"a":"\\u000f/","z":1},"€":1,"😀":0,"\ufb33":1e-7}');
  assert.throws(() => canonical(parseJson("9007199254740993")), JsonError);
});

test("bytes and moments have one spelling", () => {
  assert.deepEqual(fromHex("00ff"), Buffer.of(0, 255));
  for (const text of ["0", "0G", "AA", "00 "]) assert.equal(fromHex(text), undefined, text);
  assert.equal(fromHex("00", 2), undefined);
  assert.deepEqual(fromBase64("AQ=="), Buffer.of(1));
  for (const text of ["AQ", "AR==", "AQ==\n", "A-_=", "AQ= ="]) assert.equal(fromBase64(text), undefined, text);
  assert.deepEqual(fromBase64Url("-_8"), Buffer.of(0xfb, 0xff));
  for (const text of ["-_8=", "+/8", "-_9"]) assert.equal(fromBase64Url(text), undefined, text);
  assert.equal(fromInstant("2026-11-20T13:14:00Z"), 1_795_180_440_000);
  assert.equal(fromRfc3339("2026-11-20T14:14:00.5+01:00"), 1_795_180_440_500);
  for (const text of ["2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01"]) {
    assert.equal(fromRfc3339(text), undefined, text);
  }
  for (const text of ["2026-11-20T13:14:00+00:00", "2026-11-20t13:14:00Z", "2026-11-20T13:14:00.0Z"]) {
    assert.equal(fromInstant(text), undefined, text);
  }
});

test("DER is read in its shortest form only", () => {
  const read = (hex: string): unknown => DerReader.single(Buffer.from(hex, "hex"), 0x04, "test").content.toString("hex");
  assert.equal(read("0401aa"), "aa");
  for (const hex of ["", "04", "0402aa", "0401aabb", "048101aa", "0480aa0000", "0485000000000001aa", "0501aa", "1f0401aa"]) {
    assert.throws(() => read(hex), DerError, hex);
  }
  assert.equal(oid(Buffer.from("2b0601040183fd4e0203", "hex")), "1.3.6.1.4.1.65230.2.3");
  assert.equal(oid(Buffer.from("2a864886f84d010d0100", "hex")), "1.2.840.113741.1.13.1.0");
  for (const hex of ["", "80", "2b8001", "2b83"]) assert.throws(() => oid(Buffer.from(hex, "hex")), DerError, hex);
  for (const hex of ["", "80", "0001"]) assert.throws(() => unsigned(Buffer.from(hex, "hex")), DerError, hex);
  const moment = (tag: number, text: string): number => time({ tag, content: Buffer.from(text), raw: Buffer.alloc(0) });
  assert.equal(moment(0x17, "491231235959Z"), Date.parse("2049-12-31T23:59:59Z"));
  assert.equal(moment(0x17, "500101000000Z"), Date.parse("1950-01-01T00:00:00Z"));
  assert.equal(moment(0x18, "99991231235959Z"), Date.parse("9999-12-31T23:59:59Z"));
  for (const [tag, text] of [[0x17, "20260101000000Z"], [0x18, "260101000000Z"], [0x18, "20260230000000Z"], [0x18, "20260101000000+0100"]] as const) {
    assert.throws(() => moment(tag, text), DerError, text);
  }
});

test("a PEM chain has one spelling", () => {
  const [a, b] = [Buffer.alloc(100, 1), Buffer.alloc(48, 2)];
  const text = pemOf(a) + pemOf(b);
  assert.deepEqual(certificatesOfPem(text, 2), [a, b]);
  assert.deepEqual(certificatesOfPem(`${text}\0`, 2), [a, b]);
  for (const other of [`${text}\n`, `${text}\0\0`, ` ${text}`, text.replaceAll("\n", "\r\n"), text.replace("AQEB", "AQ\nEB"), text.trimEnd()]) {
    assert.equal(certificatesOfPem(other, 2), undefined, other);
  }
  assert.equal(certificatesOfPem(text, 1), undefined);
  assert.equal(certificatesOfPem(text, 3), undefined);
});

test("a leaf that carries a PEM chain is read as itself", () => {
  const authority = new TestAuthority();
  const der = authority.leaf(keys(), { quote: new TestPlatform().quote(Buffer.alloc(64)) });
  const leaf = new Certificate(der);
  assert.equal(leaf.name, "CN=Enclave OS");
  assert.ok(leaf.isSignedBy(new Certificate(authority.above[0] ?? der)));
});

test("report data has known answers", () => {
  const spki = Buffer.from("spki");
  assert.equal(
    toHex(certificateReportData(spki, 1_795_180_440_000)),
    "5c30ca2b08e4c0eccf6ec7ccbd05ad660133cbea1acc61cf0e43db618312a3ef18068f83821c305f9891a4b8136ce9b558120780222a2b33afff306b0a7e20e5",
  );
  assert.equal(
    toHex(challengeReportData(spki, Buffer.alloc(32, 1))),
    "43ba17f29e513dd9185f9b8a74d8a8e82a2da8bb7597e891dd83c6b8979642775fa6a93840793b7ec627acba0d7de057ea35855227fd0126f35c81330b4bd19a",
  );
  assert.equal(
    toHex(channelReportData(spki, Buffer.alloc(32, 1), Buffer.alloc(32, 2))),
    "a7ddf3af798e3c1a12f9a458510b2afc21465d7c05d686ccd9d4ced8dd70ac02ba7a5c1e3ee04f8f101cb4f0157a8ca5dc5da4d0be51ec1bb43102337724b8ac",
  );
  assert.equal(
    toHex(evidenceReportData(Buffer.from("leaf"), Buffer.alloc(32, 3))),
    "4ee8c968d1bd5d07c01893d73b4fe83ef37e952c52b6ff2b47b949205f6bfa29bca8ce9aeeabdea5e5da1cf331ce714ad66ef4fa4e1fad82babc772dd8493c74",
  );
});

/** PATH(index, leaves) of RFC 9162 §2.1.3.1, leaf upwards. */
function pathOf(leaves: Buffer[], index: number): Buffer[] {
  if (leaves.length <= 1) return [];
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return index < split
    ? [...pathOf(leaves.slice(0, split), index), treeRoot(leaves.slice(split))]
    : [...pathOf(leaves.slice(split), index - split), treeRoot(leaves.slice(0, split))];
}

test("every leaf of every small tree is proved, and nothing else is", () => {
  assert.equal(toHex(treeRoot([])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const [one, two, three] = ["", "00", "10"].map((entry) => leafHash(Buffer.from(entry, "hex"))) as [Buffer, Buffer, Buffer];
  assert.equal(toHex(treeRoot([one, two, three])), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
  for (let size = 1; size <= 33; size += 1) {
    const leaves = Array.from({ length: size }, (_, at) => leafHash(Buffer.of(at)));
    const root = treeRoot(leaves);
    for (const [index, leaf] of leaves.entries()) {
      const proof: InclusionProof = { index, treeSize: size, path: pathOf(leaves, index) };
      assert.deepEqual(provenRoot(leaf, proof), root, `${index} of ${size}`);
      const wrong = (change: Partial<InclusionProof>): boolean => provenRoot(leaf, { ...proof, ...change })?.equals(root) !== true;
      assert.ok(wrong({ path: [...proof.path, leaf] }));
      assert.ok(wrong({ index: size }) && wrong({ index: -1 }));
      if (size > 1) {
        assert.ok(wrong({ path: proof.path.slice(1) }));
        assert.ok(wrong({ index: (index + 1) % size }));
        assert.ok(wrong({ path: [nodeHash(leaf, leaf), ...proof.path.slice(1)] }));
      }
    }
  }
});

test("a manifest is believed only if every hash in it follows", () => {
  const json = manifestJson({ "app.a.env": {}, "core.ca_key": { bytes: Buffer.of(1, 2) }, "core.version": { json: { b: 1, a: [0.5] } } });
  const manifest = Manifest.of(json);
  assert.deepEqual(manifest.leaves.map(({ value }) => value.kind), ["withheld", "raw", "json"]);
  const [env, key, version] = json.leaves as [object, object, object];
  for (const leaves of [[env, version, key], [env, key, key, version], [env, key], [env, key, { ...version, json: 1 }],
    [env, { ...key, bytes: "AQ==" }, version], [env, { ...key, json: 1 }, version], [{ ...env, more: 1 }, key, version],
    [{ ...env, name: "app a" }, key, version], [{ ...env, value_hash: "77" }, key, version]]) {
    assert.throws(() => Manifest.parse(JSON.stringify({ ...json, leaves })), JsonError, JSON.stringify(leaves));
  }
  assert.throws(() => Manifest.parse(JSON.stringify({ ...json, version: 2 })), JsonError);

  const hashes = json.leaves.map((leaf) => {
    const { name, value_hash } = leaf as { name: string; value_hash: string };
    return leafHash(Buffer.concat([Buffer.of(0, name.length), Buffer.from(name), Buffer.from(value_hash, "hex")]));
  });
  const proof = { leaf: version, index: 2, tree_size: 3, path: pathOf(hashes, 2).map(toHex), root: json.root };
  assert.equal(Proof.parse(JSON.stringify(proof)).holds(manifest.root), true);
  assert.equal(Proof.parse(JSON.stringify({ ...proof, index: 1 })).holds(manifest.root), false);
  assert.equal(Proof.parse(JSON.stringify(proof)).holds(Buffer.alloc(32)), false);
  assert.throws(() => Proof.parse(JSON.stringify({ ...proof, more: 1 })), JsonError);
});
