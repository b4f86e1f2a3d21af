/** RFC 3339 moments. */

const FORM = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/** Reads a moment (RFC 3339 §5.6) as milliseconds since 1970; `undefined` for anything else. */
export function fromRfc3339(text: string): number | undefined {
  const match = FORM.exec(text);
  if (match === null) return undefined;
  const part = (at: number): number => Number(match[at] ?? "0");
  const local = calendar(part(1), part(2), part(3), part(4), part(5), part(6));
  if (local === undefined || part(9) > 23 || part(10) > 59) return undefined;
  const fraction = Math.floor(Number(`0.${match[7] ?? "0"}`) * 1000);
  const offset = (part(9) * 60 + part(10)) * 60_000 * (match[8] === "-" ? -1 : 1);
  return local + fraction - offset;
}

/** Reads a moment in the one spelling of this system's documents, `2026-11-21T17:00:00Z`. */
export function fromInstant(text: string): number | undefined {
  const moment = fromRfc3339(text);
  return moment !== undefined && toRfc3339(moment) === text ? moment : undefined;
}

/** Writes a moment in whole seconds, UTC. */
export function toRfc3339(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

/** A moment of the UTC calendar in milliseconds since 1970; `undefined` where there is no such day or hour. */
export function calendar(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number | undefined {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const same =
    date.getUTCFullYear() === year &&
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    date.getUTCMinutes() === minute &&
    date.getUTCSeconds() === second;
  return same ? date.getTime() : undefined;
}
