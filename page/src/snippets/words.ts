// What the languages share: the variable of the key, and strings.

export const VARIABLE = "FUNCTIONS_KEY";

/** A text of so many characters, some hundred rows, is sent compressed: the Functions host takes longer to read it as it is
 * than all the rest takes, and not far above it is too long for a word of a shell. */
const LARGE = 100_000;
export const isLarge = (body: { text: string } | { file: string }): boolean => "text" in body && body.text.length > LARGE;
export const ENCODING = ["content-encoding", "gzip"] as const;

/** Whether a JSON text may hold numbers beyond what a float holds, which not every browser and program keeps. */
export const hasHugeNumbers = (text: string): boolean => /\d[eE]\+?\d{3}|\d{16}/.test(text);

/** A string that Python, JavaScript and C# read as it is; to C# there are more ends of lines than JSON escapes. */
export const literal = (text: string): string =>
  JSON.stringify(text).replace(/[\u0085\u2028\u2029]/g, (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, "0")}`);
