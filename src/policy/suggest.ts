// "Did you mean": the allowed word nearest to what was written.

/** The most similar of `words`, or undefined if none is near enough to be a slip of the hand. */
export function suggestWord(written: string, words: readonly string[]): string | undefined {
  const plain = simplify(written);
  if (plain.length > 64) return undefined;
  let best: string | undefined;
  // A third of the letters may differ, but never all of a short word's.
  let bestDistance = Math.max(1, Math.floor(plain.length / 3)) + 1;
  for (const word of words) {
    const other = simplify(word);
    const distance = measureDistance(plain, other);
    if (distance < bestDistance && distance < Math.min(plain.length, other.length)) {
      best = word;
      bestDistance = distance;
    }
  }
  return best;
}

/** Case and the signs between words do not count: `destination_ports` is near `destinationPorts`. */
function simplify(word: string): string {
  return word.toLowerCase().replace(/[-_ ]/g, "");
}

/** Insertions, deletions, replacements, and swaps of neighbours that turn `a` into `b`. */
function measureDistance(a: string, b: string): number {
  let previous: number[] = [];
  let current = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let cost = Math.min(at(current, j) + 1, at(next, j - 1) + 1, at(current, j - 1) + (isSame ? 0 : 1));
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) cost = Math.min(cost, at(previous, j - 2) + 1);
      next.push(cost);
    }
    previous = current;
    current = next;
  }
  return at(current, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? 0;
}
