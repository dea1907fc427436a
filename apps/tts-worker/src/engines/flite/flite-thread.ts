/**
 * The thread that runs flite: WebAssembly does not yield, so it must not run where locks are
 * renewed and sockets served. One phrase at a time; the audio of each of its sentences is posted
 * as soon as flite has it (first of three: 25 ms, all: 80 ms).
 */
import { parentPort, workerData } from 'node:worker_threads';
import { plainWavRateHz, WAV_HEADER_BYTES } from '@antiphon/shared/audio/plain-wav';
import { lowerThreadPriority } from '@antiphon/shared/services/low-priority';
import { IN_PATH, OUT_PATH } from './wasi-imports.ts';
import { WasiCommand } from './wasi-run.ts';

export interface FliteThreadData {
  module: WebAssembly.Module;
  /** As `WasiCommand` takes it. */
  readOnlyEnd: number;
  /** It gives way to all else on this machine. */
  background: boolean;
}

export interface FliteOrder {
  args: string[];
  text: string;
}

export type FliteReply =
  | { type: 'ready' }
  | { type: 'audio'; pcm: Uint8Array; sampleRateHz: number }
  | { type: 'end' }
  | { type: 'failed'; reason: string };

function post(reply: FliteReply, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, transfer);
}

function speak(command: WasiCommand, { args, text }: FliteOrder): void {
  let sentBytes = WAV_HEADER_BYTES;
  const exitCode = command.run({
    args: ['flite', ...args, '-f', IN_PATH, '-o', OUT_PATH],
    input: new TextEncoder().encode(text),
    onOutput: (file) => {
      if (file.byteLength <= sentBytes) return;
      const sampleRateHz = plainWavRateHz(file);
      if (sampleRateHz === undefined) throw new Error('flite wrote no plain WAV header');
      const pcm = file.slice(sentBytes);
      sentBytes = file.byteLength;
      post({ type: 'audio', pcm, sampleRateHz }, [pcm.buffer]);
    },
  });
  if (exitCode === 0) post({ type: 'end' });
  else post({ type: 'failed', reason: `flite ended with ${exitCode}: ${command.stderr}` });
}

const { module, readOnlyEnd, background } = workerData as FliteThreadData;
if (background) lowerThreadPriority();
/** Made ahead, and reset ahead: a new one takes 10 ms. */
let command = new WasiCommand(module, readOnlyEnd);

parentPort?.on('message', (order: FliteOrder) => {
  try {
    speak(command, order);
  } catch (thrown) {
    post({ type: 'failed', reason: String(thrown) });
  }
  if (!command.reset()) command = new WasiCommand(module, readOnlyEnd);
});
post({ type: 'ready' });
