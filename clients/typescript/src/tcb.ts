/**
 * TCB info and the identity of the quoting enclave: which security versions are how good (Intel PCS API v4, TCB Info V3
 * and Enclave Identity V2). Read only after their signatures have been verified.
 */

import { fromHex } from "./bytes.js";
import { type Json, JsonError, type JsonObject, array, count, isObject, parseJson, string } from "./json.js";
import type { Platform } from "./pck.js";
import type { Report } from "./quote.js";
import { fromRfc3339 } from "./time.js";

/** How Intel rates a security version. */
export const TCB_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const;
/** One of {@link TCB_STATUSES}. */
export type TcbStatus = (typeof TCB_STATUSES)[number];

/** The statuses that may stand in the identity of a quoting enclave. */
const QE_STATUSES: readonly TcbStatus[] = [
  "UpToDate",
  "OutOfDate",
  "ConfigurationNeeded",
  "Revoked",
  "OutOfDateConfigurationNeeded",
];

/** A rating and what is wrong with what is rated. */
export interface Rating {
  readonly status: TcbStatus;
  readonly advisories: readonly string[];
}

interface Level<T> {
  readonly tcb: T;
  readonly status: string;
  readonly advisories: readonly string[];
}

interface PlatformTcb {
  readonly components: readonly number[];
  readonly pceSvn: number;
}

/** A document that Intel signs, and when it holds. */
interface Dated {
  /** In milliseconds since 1970. */
  readonly issued: number;
  /** In milliseconds since 1970. */
  readonly nextUpdate: number;
}

/** TCB info of one kind of SGX platform. */
export interface TcbInfo extends Dated {
  readonly fmspc: Buffer;
  readonly pceId: Buffer;
  /** Highest first. */
  readonly levels: readonly Level<PlatformTcb>[];
}

/** What Intel's quoting enclave looks like. */
export interface QeIdentity extends Dated {
  readonly miscSelect: Buffer;
  readonly miscSelectMask: Buffer;
  readonly attributes: Buffer;
  readonly attributesMask: Buffer;
  readonly mrSigner: Buffer;
  readonly isvProdId: number;
  /** By ISVSVN, highest first. */
  readonly levels: readonly Level<number>[];
}

/** Reads TCB info; throws {@link JsonError}. */
export function parseTcbInfo(text: string): TcbInfo {
  const document = object(parseJson(text), "TCB info");
  const version = count(document["version"], "version of the TCB info");
  if (string(document["id"], "id of the TCB info") !== "SGX" || version < 2) {
    throw new JsonError("the TCB info is not about SGX platforms");
  }
  const levels = array(document["tcbLevels"], "tcbLevels").map((level) => readLevel(level, platformTcb));
  return {
    ...dates(document, "TCB info"),
    fmspc: hex(document, "fmspc", 6),
    pceId: hex(document, "pceId", 2),
    levels: levels.sort(highestFirst),
  };
}

/** Reads the identity of the quoting enclave; throws {@link JsonError}. */
export function parseQeIdentity(text: string): QeIdentity {
  const document = object(parseJson(text), "QE identity");
  if (string(document["id"], "id of the QE identity") !== "QE" || document["version"] !== 2) {
    throw new JsonError("the QE identity is not that of the SGX quoting enclave in version 2");
  }
  const isvSvn = (tcb: JsonObject): number => count(tcb["isvsvn"], "isvsvn");
  return {
    ...dates(document, "QE identity"),
    miscSelect: hex(document, "miscselect", 4),
    miscSelectMask: hex(document, "miscselectMask", 4),
    attributes: hex(document, "attributes", 16),
    attributesMask: hex(document, "attributesMask", 16),
    mrSigner: hex(document, "mrsigner", 32),
    isvProdId: count(document["isvprodid"], "isvprodid"),
    levels: array(document["tcbLevels"], "tcbLevels").map((level) => readLevel(level, isvSvn)),
  };
}

/** The first level all of whose security versions the platform has; throws {@link JsonError} if there is none. */
export function ratePlatform(info: TcbInfo, platform: Platform): Rating {
  const level = info.levels.find(
    ({ tcb }) =>
      tcb.components.every((needed, at) => (platform.cpuSvn[at] ?? -1) >= needed) &&
      platform.pceSvn >= tcb.pceSvn,
  );
  if (level === undefined) throw new JsonError("the platform is older than every TCB level that is still appraised: update its firmware");
  return rating(level, TCB_STATUSES, "TCB info");
}

/** Why a report is not that of the quoting enclave that is described; `undefined` if it is. */
export function qeMismatch(identity: QeIdentity, report: Report): string | undefined {
  if (!report.mrSigner.equals(identity.mrSigner)) return "MRSIGNER";
  if (report.debug) return "DEBUG";
  if (report.isvProdId !== identity.isvProdId) return "ISVPRODID";
  const miscSelect = Buffer.alloc(4);
  miscSelect.writeUInt32LE(report.miscSelect);
  if (!equalUnder(identity.miscSelectMask, miscSelect, identity.miscSelect)) return "MISCSELECT";
  if (!equalUnder(identity.attributesMask, report.attributes, identity.attributes)) return "ATTRIBUTES";
  return undefined;
}

/** The first level whose ISVSVN the quoting enclave has; throws {@link JsonError} if there is none. */
export function rateQe(identity: QeIdentity, report: Report): Rating {
  const level = identity.levels.find(({ tcb }) => report.isvSvn >= tcb);
  if (level === undefined) throw new JsonError("the quoting enclave is older than every level of its identity");
  return rating(level, QE_STATUSES, "QE identity");
}

/** The rating of platform and quoting enclave together, as Intel's verification library converges them. */
export function converge(platform: Rating, qe: Rating): Rating {
  return {
    status: convergedStatus(platform.status, qe.status),
    advisories: [...new Set([...platform.advisories, ...qe.advisories])],
  };
}

function convergedStatus(platform: TcbStatus, qe: TcbStatus): TcbStatus {
  if (qe === "Revoked") return "Revoked";
  if (qe !== "OutOfDate") return platform;
  switch (platform) {
    case "UpToDate":
    case "SWHardeningNeeded":
      return "OutOfDate";
    case "ConfigurationNeeded":
    case "ConfigurationAndSWHardeningNeeded":
      return "OutOfDateConfigurationNeeded";
    default:
      return platform;
  }
}

function rating(level: Level<unknown>, known: readonly TcbStatus[], what: string): Rating {
  const status = known.find((name) => name === level.status);
  if (status === undefined) throw new JsonError(`the status ${level.status} does not belong in a ${what}`);
  return { status, advisories: level.advisories };
}

function readLevel<T>(json: Json, tcb: (tcb: JsonObject) => T): Level<T> {
  const level = object(json, "a TCB level");
  const advisories = Object.hasOwn(level, "advisoryIDs") ? array(level["advisoryIDs"], "advisoryIDs") : [];
  return {
    tcb: tcb(object(level["tcb"], "tcb")),
    status: string(level["tcbStatus"], "tcbStatus"),
    advisories: advisories.map((id) => string(id, "an advisory")),
  };
}

function platformTcb(tcb: JsonObject): PlatformTcb {
  const components = array(tcb["sgxtcbcomponents"], "sgxtcbcomponents").map((component) =>
    count(object(component, "a component")["svn"], "svn"),
  );
  if (components.length !== 16) throw new JsonError("a TCB level has not 16 components");
  return { components, pceSvn: count(tcb["pcesvn"], "pcesvn") };
}

function highestFirst(a: Level<PlatformTcb>, b: Level<PlatformTcb>): number {
  for (const [at, component] of a.tcb.components.entries()) {
    const difference = (b.tcb.components[at] ?? 0) - component;
    if (difference !== 0) return difference;
  }
  return b.tcb.pceSvn - a.tcb.pceSvn;
}

function equalUnder(mask: Buffer, a: Buffer, b: Buffer): boolean {
  return mask.every((bits, at) => (((a[at] ?? 0) ^ (b[at] ?? 0)) & bits) === 0);
}

function dates(document: JsonObject, what: string): Dated {
  const moment = (name: string): number => {
    const at = fromRfc3339(string(document[name], `${name} of the ${what}`));
    if (at === undefined) throw new JsonError(`${name} of the ${what} is not a moment`);
    return at;
  };
  return { issued: moment("issueDate"), nextUpdate: moment("nextUpdate") };
}

/** Hexadecimal of either case, as Intel writes it. */
function hex(document: JsonObject, name: string, length: number): Buffer {
  const bytes = fromHex(string(document[name], name).toLowerCase(), length);
  if (bytes === undefined) throw new JsonError(`${name} is not ${length} bytes in hexadecimal`);
  return bytes;
}

function object(json: Json | undefined, what: string): JsonObject {
  if (!isObject(json)) throw new JsonError(`${what} is not an object`);
  return json;
}
