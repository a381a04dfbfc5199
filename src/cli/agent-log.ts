// The agent's own log, on stderr: JSON lines for machines, or a line a message where a person watches.
import { type Logger as PinoLogger, pino } from "pino";
import type { Settings } from "./settings.ts";
import { makeStyle } from "./style.ts";
import { type Terminal, wantsColour } from "./terminal.ts";
import { plain, safeJson } from "./text.ts";

/** pino's logger does what the ports ask of one. */
export function agentLog(settings: Settings, terminal: Terminal): PinoLogger {
  const options = {
    level: settings.log.level,
    base: { host: settings.host },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  const write = terminal.errIsTerminal ? prettyWriter(terminal) : (line: string) => terminal.writeErr(line);
  return pino(options, { write });
}

const levels: Readonly<Record<number, string>> = {
  10: "trace",
  20: "debug",
  30: "info",
  40: "warn",
  50: "error",
  60: "fatal",
};

/** `10:12:33 warn  The kernel departs from main@sha1:0123456789ab in 2 places  outcome=drift` */
function prettyWriter(terminal: Terminal): (line: string) => void {
  const style = makeStyle(wantsColour(terminal, "err"));
  return (line) => {
    const { level, time, host: _, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
    const name = levels[Number(level)] ?? String(level);
    const paint =
      name === "warn" ? style.yellow : name === "error" || name === "fatal" ? style.red : style.green;
    const details = Object.entries(facts).map(([key, value]) => `${key}=${formatFact(value)}`);
    const clock = String(time).slice(11, 19);
    const text = `${style.dim(clock)} ${paint(name.padEnd(5))} ${plain(String(msg))}`;
    const more = details.length === 0 ? "" : `  ${style.dim(plain(details.join(" ")))}`;
    terminal.writeErr(`${text}${more}\n`);
  };
}

function formatFact(value: unknown): string {
  if (typeof value === "string" && !/[\s=]/.test(value)) return value;
  const rounded = (_: string, item: unknown) =>
    typeof item === "number" ? Math.round(item * 1000) / 1000 : item;
  return safeJson(JSON.parse(JSON.stringify(value, rounded)));
}
