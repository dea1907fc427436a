import { BrokenStreamError } from './token-reader.ts';

interface SpokenChunk {
  choices: {
    delta: { audio?: { transcript?: string; data?: string } };
    finish_reason?: string | null;
  }[];
}

/** Reads a spoken chat answer out of an SSE body. */
export class SpokenReader {
  transcript = '';
  soundBytes = 0;
  #rest = '';
  #finished = false;
  #done = false;

  /** Takes the next piece of the body, cut anywhere. Throws BrokenStreamError at the first fault. */
  push(bytes: Buffer): void {
    const lines = (this.#rest + bytes.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#readLine(line);
  }

  /** Call at the end of the body. Throws unless all of it came, a finish reason and `[DONE]`. */
  end(expected: { transcript: string; soundBytes: number }): void {
    const { transcript, soundBytes } = this;
    if (transcript !== expected.transcript) throw new BrokenStreamError(`Said: ${transcript}`);
    if (soundBytes !== expected.soundBytes) {
      throw new BrokenStreamError(`${soundBytes} bytes of sound of ${expected.soundBytes}`);
    }
    if (!this.#finished) throw new BrokenStreamError('No finish_reason');
    if (!this.#done) throw new BrokenStreamError('No [DONE]');
  }

  #readLine(line: string): void {
    // Between frames, and comments (keepalives).
    if (line === '' || line.startsWith(':')) return;
    if (this.#done || !line.startsWith('data: ')) {
      throw new BrokenStreamError(`Strange line: ${line.slice(0, 200)}`);
    }
    const data = line.slice('data: '.length);
    if (data === '[DONE]') this.#done = true;
    else this.#readChunk(JSON.parse(data) as SpokenChunk, line);
  }

  #readChunk({ choices }: SpokenChunk, line: string): void {
    const [choice] = choices ?? [];
    if (!choice) throw new BrokenStreamError(`Strange chunk: ${line.slice(0, 500)}`);
    const { transcript = '', data = '' } = choice.delta.audio ?? {};
    this.transcript += transcript;
    this.soundBytes += Buffer.byteLength(data, 'base64');
    if (choice.finish_reason === 'stop') this.#finished = true;
  }
}
