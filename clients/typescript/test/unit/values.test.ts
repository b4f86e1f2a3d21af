/** Native values and their JSON, type by type. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ResultError, type Schema, type Type, Typed, type Value, decode, decodeWord, encode, resolve, unwrap } from "../../src/values.js";

test("native values become what signatures read", () => {
  const cases: [Value, unknown][] = [
    [true, true],
    [7, 7],
    [-0.5, -0.5],
    [NaN, "NaN"],
    [-Infinity, "-Infinity"],
    [7n, 7],
    [2n ** 64n - 1n, "18446744073709551615"],
    [-(2n ** 63n), "-9223372036854775808"],
    ["é", "é"],
    [null, null],
    [undefined, null],
    [Uint8Array.of(1, 2, 255), { type: "bytes", value: "AQL/" }],
    [[1, [2n]], [1, [2]]],
    [new Set(["read", "write"]), ["read", "write"]],
    [{ name: "Ada", age: undefined, tags: ["x"] }, { name: "Ada", tags: ["x"] }],
    [{ circle: 1.5 }, { circle: 1.5 }],
    [{ type: "t", value: 1 }, { type: "record", value: { type: "t", value: 1 } }],
    [new Typed("u32", 7), { type: "u32", value: 7 }],
  ];
  for (const [value, json] of cases) assert.deepEqual(encode(value), json);
  for (const wrong of [() => 1, Symbol("a"), new Date(), new Map()]) assert.throws(() => encode(wrong as unknown as Value), TypeError);
});

test("results become native values of their types", () => {
  const cases: [Type, unknown, unknown][] = [
    ["u64", 7, 7n],
    ["u64", "18446744073709551615", 2n ** 64n - 1n],
    ["s64", "-9223372036854775808", -(2n ** 63n)],
    ["u32", 7, 7],
    ["f64", "NaN", NaN],
    ["f32", "-Infinity", -Infinity],
    ["string", "7", "7"],
    [{ list: "u8" }, "AQL/", Uint8Array.of(1, 2, 255)],
    [{ list: "u64" }, [1, "2"], [1n, 2n]],
    [{ tuple: ["u64", "string"] }, [1, "x"], [1n, "x"]],
    [{ record: [{ name: "a", type: "u64" }, { name: "b", type: { option: "u64" } }] }, { a: 1, b: null }, { a: 1n, b: null }],
    [{ variant: [{ name: "some", type: "u64" }, { name: "none" }] }, { some: 1 }, { some: 1n }],
    [{ variant: [{ name: "some", type: "u64" }, { name: "none" }] }, { none: null }, { none: null }],
    [{ enum: ["red", "green"] }, "red", "red"],
    [{ flags: ["read", "write"] }, ["read"], ["read"]],
    [{ option: "u64" }, 7, 7n],
    [{ option: { option: "u64" } }, { some: null }, { some: null }],
    [{ option: { option: "u64" } }, { some: 7 }, { some: 7n }],
    [{ option: { option: "u64" } }, null, null],
    [{ result: { ok: "u64", err: "string" } }, { ok: 7 }, { ok: 7n }],
    [{ result: { ok: "u64", err: "string" } }, { err: "no" }, { err: "no" }],
    [{ result: {} }, { ok: null }, { ok: null }],
  ];
  for (const [type, json, value] of cases) assert.deepEqual(decode(type, json), value, JSON.stringify(type));
  for (const [type, json] of [["u64", true], [{ list: "u64" }, 1], [{ record: [] }, 1], [{ tuple: ["u8"] }, [1, 2]], [{ variant: [] }, { x: 1 }]] as [Type, unknown][]) {
    assert.throws(() => decode(type, json), TypeError, JSON.stringify(type));
  }
  assert.deepEqual(decodeWord("bytes", "AQ=="), Uint8Array.of(1));
  assert.deepEqual(decodeWord("record", { a: 1 }), { a: 1 });
});

test("a result is unwrapped, or thrown", () => {
  assert.equal(unwrap({ ok: 7 }), 7);
  assert.throws(() => unwrap({ err: { code: 1n } }), (error) => error instanceof ResultError && error.message === '{"code":"1"}');
});

test("short names of functions mean what they mean to the enclave", () => {
  const names = ["hello", "acme:store/notes@1.0.0#add", "acme:other/notes@1.0.0#add", "acme:store/notes@1.0.0#count"];
  const schema: Schema = { exports: names.map((name) => ({ name, params: [], results: [] })) };
  const found = (name: string): string | undefined => resolve(schema, name)?.name;
  assert.equal(found("hello"), "hello");
  assert.equal(found("acme:store/notes#add"), names[1]);
  assert.equal(found("notes#count"), names[3]);
  assert.equal(found("count"), names[3]);
  assert.equal(found("add"), undefined);
  assert.equal(found("notes#add"), undefined);
});
