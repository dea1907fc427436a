import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { ConfigError } from '@antiphon/shared/runtime/load-config';
import { CommanderError } from 'commander';
import { createApi } from './api.ts';
import { fetchBatch, runRequests } from './batch/run-command.ts';
import { speakBook } from './batch/speak-command.ts';
import { cancelBatch, showStatus } from './batch/status-command.ts';
import { transcribeBatch } from './batch/transcribe-batch.ts';
import { chat } from './chat/chat-command.ts';
import { CliError, errorLine, USAGE_EXIT } from './cli-error.ts';
import { createProgram, type GlobalOptions } from './command-line.ts';
import { environment, playerName, readConfig, startDirectory } from './config.ts';
import type { CliContext } from './context.ts';
import { doctor } from './doctor/doctor-command.ts';
import { createInterrupts } from './interrupts.ts';
import { openPlayer } from './sound/open-player.ts';
import { say } from './speech/say-command.ts';
import { createTerminal } from './terminal.ts';
import { transcribe } from './transcription/transcribe-command.ts';

/** Where `.env` lies. */
const WORKSPACE = join(import.meta.dirname, '../../..');

const interrupts = createInterrupts();
// `| head` has what it wanted: that is no error.
const terminal = createTerminal(process, () => interrupts.end(0));
const directory = startDirectory();
let exitCode = 0;

function createContext(): CliContext {
  const config = readConfig();
  const { baseUrl = config.OPENAI_BASE_URL, apiKey = config.OPENAI_API_KEY } =
    program.opts<GlobalOptions>();
  const api = createApi({ baseUrl, ...(apiKey === undefined ? {} : { apiKey }) });
  return {
    ...{ api, terminal, interrupts, directory, environment },
    openPlayer: () => openPlayer(playerName(), environment),
  };
}

const program = createProgram({
  async chat({ save, ...options }) {
    const path = save === undefined ? {} : { save: resolve(directory, save) };
    exitCode = await chat(createContext(), { ...options, ...path }, process);
  },
  async say({ words, ...options }) {
    const fromStdin = words.length === 0 || (words.length === 1 && words[0] === '-');
    if (words.length === 0 && process.stdin.isTTY) {
      throw new CliError('there is nothing to say', 'give a text', { exitCode: USAGE_EXIT });
    }
    const given = fromStdin ? await text(process.stdin) : words.join(' ');
    exitCode = await say(createContext(), { ...options, text: given });
  },
  async transcribe(options) {
    exitCode = await transcribe(createContext(), options, process.stdin);
  },
  batch: {
    async speak(path, options) {
      exitCode = await speakBook(createContext(), path, options);
    },
    async transcribe(paths, options) {
      exitCode = await transcribeBatch(createContext(), paths, options);
    },
    async run(path, options) {
      exitCode = await runRequests(createContext(), path, options);
    },
    async status(batchId, options) {
      exitCode = await showStatus(createContext(), batchId, options);
    },
    async fetch(batchId, options) {
      exitCode = await fetchBatch(createContext(), batchId, options);
    },
    async cancel(batchId) {
      exitCode = await cancelBatch(createContext(), batchId);
    },
  },
  async doctor(options) {
    exitCode = await doctor(createContext(), { ...options, root: WORKSPACE });
  },
});

function fail(thrown: unknown): number {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return 0; // help was asked for, and shown
    // Without a command the help itself is the answer.
    if (thrown.code === 'commander.help') return USAGE_EXIT;
    const message = thrown.message.replace(/^error: /, '').replace(/\.$/, '');
    terminal.notice(errorLine({ message, advice: 'see npm run antiphon -- --help' }));
    return USAGE_EXIT;
  }
  if (thrown instanceof CliError) {
    terminal.notice(errorLine(thrown));
    return thrown.exitCode;
  }
  if (thrown instanceof ConfigError) {
    for (const line of thrown.lines) terminal.notice(line);
    return USAGE_EXIT;
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  terminal.notice(errorLine({ message, advice: 'this should not happen: please report it' }));
  return 1;
}

try {
  await program.parseAsync();
} catch (thrown) {
  // What was cut off by a signal or a closed pipe has nothing to complain about.
  if (!interrupts.ended.aborted) exitCode = fail(thrown);
}
process.exit(interrupts.exitCode ?? exitCode);
