import type { CliContext } from '../context.ts';
import { type Check, checkLine, type CheckResult } from './check.ts';
import { checkConfiguration, readDotEnv } from './dot-env.ts';
import { checkInput, checkNode, checkOutput, checkPrograms, checkQueue } from './machine-checks.ts';
import { checkRoundTrip } from './round-trip.ts';
import {
  checkModels,
  checkReachable,
  checkReady,
  checkVoices,
  type ServerHints,
} from './server-checks.ts';

export interface DoctorOptions {
  json: boolean;
  /** Where `.env` lies. */
  root: string;
}

type Report = (name: string, result: CheckResult) => boolean;

/** Checks everything in order and shows each result as it is known. Returns 1 when a check failed. */
export async function doctor(context: CliContext, { json, root }: DoctorOptions): Promise<number> {
  const checks: Check[] = [];
  const report: Report = (name, result) => {
    const check = { name, ...result };
    checks.push(check);
    if (!json) context.terminal.print(`${checkLine(check)}\n`);
    return check.status !== 'failed';
  };
  const dotEnv = await readDotEnv(root);
  // The environment wins, as in npm start.
  const settings = { ...dotEnv.variables, ...context.environment };
  report('node', checkNode(process.versions.node));
  report('configuration', checkConfiguration(dotEnv));
  report('redis', await checkQueue(settings['REDIS_URL'] || undefined));
  const hints = { port: settings['PORT'] || undefined, hasKeys: Boolean(settings['API_KEYS']) };
  await checkServer(context, hints, report);
  report('programs', checkPrograms(settings));
  report('sound output', await checkOutput(context));
  report('microphone', await checkInput(context));
  const isWell = checks.every(({ status }) => status !== 'failed');
  if (json) context.terminal.print(`${JSON.stringify({ ok: isWell, checks }, undefined, 2)}\n`);
  return isWell ? 0 : 1;
}

/** Each check would only fail the same way where the one before it did. */
async function checkServer(
  { api, interrupts }: CliContext,
  hints: ServerHints,
  report: Report,
): Promise<void> {
  if (!report('server', await checkReachable(api, hints))) return;
  const isReady = report('ready', await checkReady(api));
  const { key, models } = await checkModels(api, hints);
  if (!report('key', key)) return;
  report('models', models);
  const { names, voices } = await checkVoices(api);
  report('voices', voices);
  if (isReady) report('round trip', await checkRoundTrip(api, names, interrupts.ended));
}
