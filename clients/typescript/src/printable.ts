/** Text of a peer's, for a terminal. */

/** Controls (C0, DEL, C1), ends of lines, and overrides of the direction of text. */
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/** What would steer a terminal is escaped, as `\u001b`; all `but` these characters. */
export function printable(text: string, but = ""): string {
  return text.replace(UNPRINTABLE, (found) =>
    but.includes(found) ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
