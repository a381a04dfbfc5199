// The demo: two namespaces, a Git server, an agent, and seven things that happen to packets. Runs unattended; a step
// that does not show what it should ends it with a non-zero exit code. Leaves nothing behind, also when interrupted;
// --keep leaves everything running and says how to look around, --json FILE writes the measured figures.
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Figures, runSteps } from "./demo/steps.ts";
import { DemoWorld } from "./demo/world.ts";

const { values } = parseArgs({
  options: { keep: { type: "boolean", default: false }, json: { type: "string" }, help: { type: "boolean" } },
});
if (values.help === true) {
  console.log("usage: npm run demo -- [--keep] [--json FILE]");
  process.exit(0);
}

const world = new DemoWorld();
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (interrupted) return;
    interrupted = true;
    world.remove();
    process.exit(130);
  });
}

const started = performance.now();
let figures: Figures | undefined;
let failure: unknown;
try {
  await world.build();
  figures = await runSteps(world);
} catch (error) {
  failure = error;
  // An interrupt ends the commands under way too: let its handler have its turn before this is called a failure.
  await sleep(100);
}
if (failure !== undefined && !interrupted) {
  console.error(`\nThe demo failed: ${failure instanceof Error ? failure.message : String(failure)}`);
  console.error(world.agentLogTail());
}
const seconds = (performance.now() - started) / 1000;
if (figures !== undefined && values.json !== undefined) {
  writeFileSync(
    values.json,
    `${JSON.stringify({ ...figures, demoSeconds: Number(seconds.toFixed(1)) }, null, 2)}\n`,
  );
}
if (values.keep && failure === undefined) console.log(world.howToLookAround());
else world.remove();
if (failure === undefined) console.log(`\nAll seven steps did what they should, in ${seconds.toFixed(1)} s.`);
process.exit(failure === undefined ? 0 : 1);
