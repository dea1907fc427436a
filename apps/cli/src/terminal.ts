import type { Writable } from 'node:stream';
import { oneLine } from './cli-error.ts';

/** The one place that writes to standard output and standard error. */
export interface Terminal {
  /** What was asked for, to standard output as it is, but on a terminal without its escape codes. */
  print(text: string): void;
  /** Sound for a pipe. Resolves when it was taken. */
  writeBytes(bytes: Uint8Array): Promise<void>;
  /** One line on standard error: `antiphon: <text>`. */
  notice(text: string): void;
  /** Whether someone looks at standard output. */
  readonly isTty: boolean;
  /** Whether `status` shows anything: standard error is a terminal. */
  readonly hasStatus: boolean;
  /** The line that stands below all others until it is changed; an empty one is gone. */
  status(text: string): void;
}

/** What a model says must not move the cursor or rename the window. */
// oxlint-disable-next-line no-control-regex
const CONTROL_CHARACTERS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

interface TerminalStreams {
  stdout: Writable & { isTTY?: boolean };
  stderr: Writable & { isTTY?: boolean; columns?: number };
}

const ERASE_LINE = '\r\u001b[2K';

/** `onBrokenPipe`: whoever read standard output has gone (`| head`); nothing more is written to it. */
export function createTerminal(
  { stdout, stderr }: TerminalStreams,
  onBrokenPipe: () => void,
): Terminal {
  let gone = false;
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    gone = true;
    if (error.code === 'EPIPE') onBrokenPipe();
    else throw error;
  });
  // There is nobody left to tell.
  stderr.on('error', () => undefined);
  const isTty = stdout.isTTY === true;
  const hasStatus = stderr.isTTY === true;
  let shown = '';
  const showStatus = (text: string): void => {
    if (!hasStatus || (text === '' && shown === '')) return;
    shown = text;
    // A line that is broken by the terminal could not be erased. Some do not tell their width.
    stderr.write(ERASE_LINE + oneLine(text).slice(0, (stderr.columns || 80) - 1));
  };
  return {
    isTty,
    hasStatus,
    status: showStatus,
    print(text) {
      if (!gone) stdout.write(isTty ? text.replaceAll(CONTROL_CHARACTERS, '') : text);
    },
    async writeBytes(bytes) {
      if (gone) return;
      await new Promise<void>((resolve) => {
        stdout.write(bytes, () => resolve());
      });
    },
    notice(text) {
      const below = shown;
      showStatus('');
      stderr.write(`antiphon: ${oneLine(text)}\n`);
      if (below !== '') showStatus(below);
    },
  };
}
