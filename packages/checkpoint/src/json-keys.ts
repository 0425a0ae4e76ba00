/**
 * The keys of a JSON object's top level in the order in which they are written, repeated ones too: JSON.parse keeps
 * only the last of equal keys and puts integer-like ones first. The text must be valid JSON of an object.
 */
export function topLevelKeys(json: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  let atKey = false;
  // Strings as a whole (so that brackets within them do not count), and the characters that give structure.
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/gs)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (depth === 1 && atKey && token.startsWith('"')) keys.push(JSON.parse(token));
    atKey = depth === 1 && (token === "{" || token === ",");
  }
  return keys;
}
