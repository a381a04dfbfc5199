// The database of countries as commands read it: files of every sort, and what validate and explain make of them.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readGeoFile, stampOfGeoFile } from "../../src/cli/geo-file.ts";
import { countryFile, geoFileOf } from "../fixtures/geo-file.ts";
import { runCli } from "./cli-terminal.ts";

const content = countryFile({ "10.0.0.0/9": "DE", "2003::/19": "DE" });

let folder = "";
let database = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "penstock-geo-"));
  database = join(folder, "geo.mmdb");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("the file", () => {
  const read = () => readGeoFile({ database, maxAgeDays: 7 });

  test("is read whole", () => {
    writeFileSync(database, content);
    const found = read();
    if (found.kind !== "content") throw new Error(found.reason);
    expect(Buffer.from(found.content)).toEqual(content);
    expect(found).toMatchObject({ path: database, maxAgeDays: 7, sha256: geoFileOf(content).sha256 });
    // So that a thread that is handed it takes no copy.
    expect(found.content.buffer).toBeInstanceOf(SharedArrayBuffer);
  });

  test.each<[string, () => void, string]>([
    ["nothing", () => {}, "there is no such file"],
    ["a folder", () => mkdirSync(database), "it is no file"],
    ["a pipe", () => execFileSync("mkfifo", [database]), "it is no file"],
    [
      "a giant",
      () => {
        writeFileSync(database, "");
        truncateSync(database, 2 ** 40);
      },
      "it has more than 256 MiB",
    ],
  ])("%s is told, and not waited for", (_, make, reason) => {
    make();
    expect(read()).toEqual({ kind: "unreadable", path: database, reason });
  });

  test("has another stamp when it is another one", () => {
    const stamp = () => stampOfGeoFile({ database, maxAgeDays: 7 });
    const stamps = [stamp()];
    writeFileSync(database, "one");
    stamps.push(stamp());
    expect(stamp()).toBe(stamps[1]);
    writeFileSync(database, "other");
    stamps.push(stamp());
    rmSync(database);
    expect(new Set(stamps).size).toBe(3);
    expect(stamp()).toBe(stamps[0]);
  });
});

describe("commands", () => {
  const policy = (countries: string) => {
    mkdirSync(join(folder, "policies"));
    const head = (kind: string, name: string) =>
      `apiVersion: penstock/v1\nkind: ${kind}\nmetadata: { name: ${name} }\n`;
    const set = `${head("AddressSet", "near")}spec: { countries: [${countries}] }\n`;
    const rule = "{ name: near, action: drop, match: { source: { sets: [near] } } }";
    const edge = `${head("Firewall", "edge")}spec: { interfaces: [eth0], rules: [${rule}] }\n`;
    writeFileSync(join(folder, "policies/all.yaml"), `${set}---\n${edge}`);
    return join(folder, "policies");
  };

  test("validate looks at the codes' form alone, and with --geo into the database", async () => {
    const path = policy("DE, UK");
    writeFileSync(database, content);
    const without = await runCli(["validate", path]);
    expect(without.out).toMatch(/^\S+:4:20 warning countries-unchecked .*--geo\n$/);
    expect(without.code).toBe(0);
    const within = await runCli(["validate", path, "--geo", database]);
    expect(within.out).toMatch(/^\S+:4:25 warning unknown-country .* UK; .*\n$/);
    expect(within.code).toBe(0);
    const nowhere = await runCli(["validate", path, "--geo", join(folder, "nowhere")]);
    expect(nowhere.out).toContain(" error bad-geo-database ");
    expect(nowhere.code).toBe(1);
  });

  test("plan compiles with the configured database", async () => {
    const path = policy("DE");
    writeFileSync(database, content);
    const config = join(folder, "agent.yaml");
    const places = `stateDirectory: ${folder}/state\nrunDirectory: ${folder}/run\npinDirectory: ${folder}/pins\n`;
    writeFileSync(config, `source: { url: /nowhere }\ngeo: { database: ${database} }\n${places}`);
    const words = ["plan", "--dir", path, "--config", config, "-o", "json"];
    const { out, err } = await runCli(words);
    expect(err).toBe("");
    const added = JSON.parse(out).tables.filter(({ table }: { table: string }) =>
      table.startsWith("address"),
    );
    expect(added).toMatchObject([{ writes: 1 }, { writes: 1 }]);
    rmSync(database);
    expect((await runCli(words)).err).toContain("bad-geo-database");
  }, 60_000);

  test("explain asks the configured database", async () => {
    const path = policy("DE");
    writeFileSync(database, content);
    const config = join(folder, "agent.yaml");
    writeFileSync(config, `source: { url: /nowhere }\ngeo: { database: ${database} }\n`);
    const ask = (source: string, configured = true) =>
      runCli([
        ...[
          "explain",
          "--dir",
          path,
          "-i",
          "eth0",
          "-p",
          "tcp",
          "-s",
          source,
          "-d",
          "192.0.2.1",
          "-o",
          "json",
        ],
        ...(configured ? ["--config", config] : []),
      ]);
    expect(JSON.parse((await ask("10.1.2.3")).out)).toMatchObject({
      verdict: "drop",
      rule: { rule: "edge/near" },
    });
    expect(JSON.parse((await ask("10.200.2.3")).out)).toMatchObject({ verdict: "pass", rule: null });
    const { code, err } = await ask("10.1.2.3", false);
    expect(code).toBe(1);
    expect(err).toContain("no-geo-database");
  });
});
