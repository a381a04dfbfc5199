// Names that policy has for numbers in headers: from IANA's registries, in the form that policy writes them.

/** Classes of service: cs0 to cs7, af11 to af43, ef, le. */
export const dscpNumbers: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`cs${i}`, i * 8])),
  ...Object.fromEntries([1, 2, 3, 4].flatMap((x) => [1, 2, 3].map((y) => [`af${x}${y}`, x * 8 + y * 2]))),
  ef: 46,
  le: 1,
};

/** `ef`, or the number where there is no name. */
export function nameOfNumber(names: Readonly<Record<string, number>>, number: number): string {
  return Object.entries(names).find(([, n]) => n === number)?.[0] ?? String(number);
}
