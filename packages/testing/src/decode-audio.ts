import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { buffer, text } from 'node:stream/consumers';

/**
 * What a player would hear: the samples (mono) that ffmpeg makes of a body, fed through a pipe.
 * Counting them tells the duration; a container's header may lie about it. Rejects with ffmpeg's
 * words when there is anything in the body that it complains about.
 */
export async function decodeToPcm(
  bytes: Uint8Array,
  { sampleRateHz }: { sampleRateHz: number },
): Promise<Int16Array> {
  const input = ['-nostdin', '-loglevel', 'error', '-i', 'pipe:0'];
  const output = ['-ac', '1', '-ar', String(sampleRateHz), '-f', 's16le', 'pipe:1'];
  const child = spawn('ffmpeg', [...input, ...output], { stdio: ['pipe', 'pipe', 'pipe'] });
  // It may stop reading early; its exit code and words tell why.
  child.stdin.on('error', () => {});
  child.stdin.end(bytes);
  const [pcm, complaints, [code]] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  if (code !== 0 || complaints !== '') {
    throw new Error(`ffmpeg (exit ${String(code)}): ${complaints}`);
  }
  // A copy: a Buffer may begin at an odd address.
  return new Int16Array(Uint8Array.from(pcm).buffer);
}

/** The duration that a file tells before it is decoded; NaN when it tells none. */
export async function probeSeconds(bytes: Uint8Array): Promise<number> {
  const shown = ['-show_entries', 'format=duration', '-of', 'csv=p=0'];
  const child = spawn('ffprobe', ['-v', 'error', ...shown, 'pipe:0']);
  // It stops reading behind the header.
  child.stdin.on('error', () => {});
  child.stdin.end(bytes);
  const [told] = await Promise.all([text(child.stdout), once(child, 'close')]);
  return Number.parseFloat(told);
}
