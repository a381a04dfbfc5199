// Addresses and prefixes as text: what is taken is what the platform takes too, but for forms that other programs
// read differently, and every refusal says what to write.
import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, formatPrefix, maskBytes, parseAddress, parsePrefix } from "../../src/base/prefix.ts";

const bytesOf = (text: string) => {
  const parsed = parseAddress(text);
  return parsed.ok ? Buffer.from(parsed.value.bytes).toString("hex") : undefined;
};

/** Texts that are addresses, or nearly: pieces that occur in addresses, put together by chance. */
const nearAddress = fc
  .array(
    fc.constantFrom(
      ":",
      "::",
      ".",
      "0",
      "1",
      "00",
      "a",
      "F",
      "ffff",
      "12345",
      "255",
      "256",
      "g",
      "%",
      "1.2.3.4",
    ),
    {
      maxLength: 17,
    },
  )
  .map((pieces) => pieces.join(""));
/** Groups and colons in about the right number. */
const nearIPv6 = fc
  .tuple(
    fc.array(fc.constantFrom("0", "1", "ab", "FFFF", "", "1.2.3.4"), { minLength: 1, maxLength: 9 }),
    fc.constantFrom("", "::", "1.2.3.4", ":"),
  )
  .map(([groups, end]) => groups.join(":") + end);

describe("an address", () => {
  it("is taken if and only if the platform takes it, zone ids apart", () => {
    fc.assert(
      fc.property(fc.oneof(nearAddress, nearIPv6, fc.ipV6(), fc.ipV4(), fc.string()), (text) => {
        expect(parseAddress(text).ok, text).toBe(!text.includes("%") && (isIPv4(text) || isIPv6(text)));
      }),
      { numRuns: 20_000 },
    );
  });

  it("means what the platform says that it means", () => {
    fc.assert(
      fc.property(fc.oneof(nearIPv6, fc.ipV6()), (text) => {
        if (!isIPv6(text)) return;
        const parsed = parseAddress(text);
        // The platform writes an address in its canonical form, in which IPv4 at the end is hexadecimal.
        expect(parsed.ok && `[${formatAddress(parsed.value)}]`).toBe(new URL(`http://[${text}]`).hostname);
      }),
      { numRuns: 5_000 },
    );
  });

  it.each([
    ["10.1.2.255", "0a0102ff"],
    ["::", "0".repeat(32)],
    ["1::", `0001${"0".repeat(28)}`],
    ["::1", `${"0".repeat(31)}1`],
    ["1:2:3:4:5:6:7::", "00010002000300040005000600070000"],
    ["::2:3:4:5:6:7:8", "00000002000300040005000600070008"],
    ["2001:DB8::a:b", "20010db80000000000000000000a000b"],
    ["::ffff:1.2.3.4", `${"0".repeat(20)}ffff01020304`],
    ["1:2:3:4:5:6:1.2.3.4", "00010002000300040005000601020304"],
    ["1:2:3:4:5:6:7:8::", undefined],
    ["1:2:3:4:5:6::1.2.3.4", undefined],
    ["1:2:3:4:5:6:7:1.2.3.4", undefined],
    ["1::2::3", undefined],
    [":::", undefined],
    [":1::", undefined],
    ["1:", undefined],
    ["::01.2.3.4", undefined],
    ["fe80::1%eth0", undefined],
    ["010.0.0.1", undefined],
    ["10.1", undefined],
    ["0x7f.1", undefined],
    ["", undefined],
  ])("%s is %s", (text, hex) => {
    expect(bytesOf(text)).toBe(hex);
  });
});

describe("a prefix", () => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6());
  it("is taken if no bit is set after its length, and told how to be mended otherwise", () => {
    fc.assert(
      fc.property(address, fc.nat(128), (text, number) => {
        const parsed = parseAddress(text);
        if (!parsed.ok) return;
        const { family, bytes } = parsed.value;
        const length = family === 4 ? number % 33 : number;
        const masked = { family, bytes: maskBytes(bytes, length), length };
        expect(parsePrefix(formatPrefix(masked))).toEqual({ ok: true, value: masked });
        const given = parsePrefix(`${text}/${length}`);
        if (Buffer.compare(bytes, masked.bytes) === 0) expect(given).toEqual({ ok: true, value: masked });
        else
          expect(given).toEqual({
            ok: false,
            code: "host-bits",
            message: `"${text}/${length}" has bits set after the prefix; write "${formatPrefix(masked)}", or "${formatAddress({ family, bytes })}" for the one host`,
          });
      }),
    );
  });

  it.each(["", "-1", "+1", "01", "00", "33", "1e1", " 8", "8 ", "8/8", "0x8", "1000", "\uff18"])(
    "has no length /%s",
    (length) => {
      const text = `0.0.0.0/${length}`;
      expect(parsePrefix(text)).toEqual({
        ok: false,
        code: "bad-prefix",
        message: `"${text}" has no valid prefix length; write a number from 0 to 32 after the slash`,
      });
    },
  );

  it("is not one without its address, and only the address is quoted", () => {
    for (const text of ["10.0.0/8", "/8", "10.0.0.0:/8", "::g/64", "10.0.0.0 /8"]) {
      const address = text.slice(0, text.indexOf("/"));
      expect(parsePrefix(text)).toMatchObject({
        code: "bad-address",
        message: expect.stringContaining(`"${address}" is not`),
      });
    }
    expect(parsePrefix("10.0.0.0/8:").ok).toBe(false);
  });

  it("without a length is one host", () => {
    expect(parsePrefix("10.0.0.1")).toMatchObject({ value: { family: 4, length: 32 } });
    expect(parsePrefix("::1")).toMatchObject({ value: { family: 6, length: 128 } });
  });
});
