import type { Environment } from './start-environment.ts';

const LEVEL_NAMES: Record<number, string> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};
const LEVEL_NUMBERS = new Map(
  Object.entries(LEVEL_NAMES).map(([number, name]) => [name, Number(number)]),
);
const INFO = 30;
const WARN = 40;
/** Fields of every line that a console on one machine does not need. */
const LEFT_OUT = new Set(['level', 'time', 'pid', 'hostname', 'name', 'service', 'msg', 'v']);
const LONGEST_VALUE = 200;

export interface ConsoleLine {
  level: number;
  /** A probe asks every few seconds; nobody wants to read it. */
  isProbe: boolean;
  text: string;
}

/**
 * A JSON log line of one of our processes as one short line: `12:00:01 gateway  info message key=value`.
 * Anything else a process writes (a crash, Redis) is a warning, kept as it is.
 */
export function consoleLine(name: string, text: string): ConsoleLine {
  const record = parseRecord(text);
  const label = name.padEnd(10);
  if (!record) {
    const message = text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text;
    return { level: WARN, isProbe: false, text: `${timeOfDay(Date.now())} ${label} ${message}` };
  }
  const level = levelOf(record['level']);
  const levelName = (LEVEL_NAMES[level] ?? String(level)).padEnd(5);
  const fields = Object.entries(record)
    .filter(([key]) => !LEFT_OUT.has(key))
    .map(([key, value]) => `${key}=${shortValue(value)}`);
  const parts = [
    timeOfDay(record['time']),
    label,
    levelName,
    shortValue(record['msg'] ?? ''),
    ...fields,
  ];
  const isProbe = /^\/(health|metrics)/.test(shortValue(record['path'] ?? ''));
  return { level, isProbe, text: parts.join(' ') };
}

function parseRecord(text: string): Record<string, unknown> | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function levelOf(level: unknown): number {
  if (typeof level === 'number') return level;
  return LEVEL_NUMBERS.get(String(level)) ?? INFO;
}

function timeOfDay(time: unknown): string {
  const date = new Date(typeof time === 'number' || typeof time === 'string' ? time : Date.now());
  return Number.isNaN(date.getTime()) ? '--------' : date.toTimeString().slice(0, 8);
}

function shortValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

/** What Redis says at every start and stop is no news; a full disk or a broken AOF is. */
function isRedisTrouble(text: string): boolean {
  return /error|failed|can't|corrupt|misconf|denied/i.test(text) && !text.includes('overcommit');
}

function isShown(name: string, line: ConsoleLine, showsAll: boolean): boolean {
  const { level, isProbe, text } = line;
  if (name === 'redis') return isRedisTrouble(text);
  return showsAll || level >= (name === 'gateway' && !isProbe ? INFO : WARN);
}

/**
 * Which lines of the processes the console shows, and how: the gateway's requests and everyone's
 * warnings; with LOG_LEVEL set, all that this level lets through; with LOG_FORMAT=json, every line
 * as JSON. The returned function says whether it showed the line.
 */
export function consoleLog(
  environment: Environment,
  write: (line: string) => void,
): (name: string, text: string) => boolean {
  const asJson = environment['LOG_FORMAT'] === 'json';
  const showsAll = asJson || Boolean(environment['LOG_LEVEL']);
  return (name, text) => {
    const line = consoleLine(name, text);
    if (!isShown(name, line, showsAll)) return false;
    write(asJson ? jsonLine(name, text) : line.text);
    return true;
  };
}

function jsonLine(name: string, text: string): string {
  if (parseRecord(text)) return text;
  return JSON.stringify({ level: WARN, time: Date.now(), name, msg: text });
}
