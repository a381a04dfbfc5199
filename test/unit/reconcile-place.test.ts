// Placing ordered entries into slots: the order always holds, and what may stay put does.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placeEntries } from "../../src/reconcile/place.ts";

function place(current: number[], capacity: number): number[] {
  return Array.from(placeEntries(Int32Array.from(current), capacity) ?? []);
}

const rows: { name: string; current: number[]; capacity: number; moved: number }[] = [
  { name: "nothing", current: [], capacity: 4, moved: 0 },
  { name: "all new", current: [-1, -1, -1], capacity: 8, moved: 3 },
  { name: "all new, exactly full", current: [-1, -1, -1], capacity: 3, moved: 3 },
  { name: "all stay", current: [1, 3, 5], capacity: 8, moved: 0 },
  { name: "insert into a gap", current: [1, -1, 3], capacity: 8, moved: 1 },
  {
    name: "insert where there is no gap: the nearer neighbours move",
    current: [0, 1, 2, -1, 3, 5],
    capacity: 8,
    moved: 2,
  },
  { name: "insert at the front without room", current: [-1, 0, 1, 3], capacity: 8, moved: 3 },
  { name: "append behind a full end", current: [1, 2, 3, -1], capacity: 4, moved: 4 },
  { name: "one entry moves to the front", current: [5, 1, 3], capacity: 8, moved: 1 },
  { name: "reversed", current: [5, 3, 1], capacity: 8, moved: 2 },
];

describe("placeEntries", () => {
  it.each(rows)("$name", ({ current, capacity, moved }) => {
    const slots = place(current, capacity);
    expect(slots).toHaveLength(current.length);
    expect(slots.filter((slot, i) => slot !== current[i])).toHaveLength(moved);
  });

  it("refuses more entries than slots", () => {
    expect(placeEntries(Int32Array.from([-1, -1]), 1)).toBeUndefined();
  });

  it("places a table anew that is so full that finding room for each entry would take too long", () => {
    const capacity = 8192;
    const current: number[] = [];
    for (
      let slot = 700;
      slot < capacity;
      current.length % 12 === 11 ? current.push(-1) : current.push(slot++)
    );
    const slots = place(current, capacity);
    expect(slots).toHaveLength(current.length);
    expect(slots.every((slot, i) => slot < capacity && slot > (slots[i - 1] ?? -1))).toBe(true);
  });

  it("keeps the order within the table, for any edit of any table", () => {
    const table = fc.uniqueArray(fc.integer({ min: 0, max: 60 }), { maxLength: 50 }).chain((slots) => {
      const old = [...slots].sort((a, b) => a - b);
      const edited = fc.shuffledSubarray(old);
      const sorted = fc.subarray(old);
      return fc.tuple(
        fc.oneof(edited, sorted).chain((kept) =>
          fc.array(fc.nat({ max: kept.length }), { maxLength: 61 - kept.length }).map((places) => {
            const desired = [...kept];
            for (const at of places) desired.splice(at, 0, -1);
            return desired;
          }),
        ),
        fc.integer({ min: 61, max: 70 }),
      );
    });
    fc.assert(
      fc.property(table, ([current, capacity]) => {
        const slots = place(current, capacity);
        expect(slots).toHaveLength(current.length);
        slots.forEach((slot, i) => {
          expect(slot).toBeGreaterThan(i === 0 ? -1 : (slots[i - 1] ?? 0));
          expect(slot).toBeLessThan(capacity);
        });
        if (current.every((slot, i) => slot >= 0 && (i === 0 || slot > (current[i - 1] ?? 0)))) {
          expect(slots).toEqual(current);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
