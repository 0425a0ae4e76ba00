/**
 * The order of Python's `sorted()` on strings: by code point. JavaScript's own `sort()` compares UTF-16 units and puts
 * 😀 (U+1F600, a surrogate pair) before Ａ (U+FF21).
 */
export function codePointOrder(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Lifts surrogates (U+D800 to U+DFFF), which stand for code points from U+10000, above all other UTF-16 units. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
