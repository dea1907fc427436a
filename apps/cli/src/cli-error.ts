/** Exit code of wrong usage: the command was not understood, nothing was tried. */
export const USAGE_EXIT = 2;

/** What ends a command: one line on standard error, `antiphon: <what> — <what to do>`. */
export class CliError extends Error {
  readonly advice: string;
  readonly exitCode: number;

  constructor(what: string, advice: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(what, { cause: options.cause });
    this.name = 'CliError';
    this.advice = advice;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** The line for any thrown value; on one line whatever it holds, and without control characters. */
export function errorLine(error: { message: string; advice?: string }): string {
  const { message, advice } = error;
  return oneLine(advice === undefined ? message : `${message} — ${advice}`);
}

/** Servers' messages are shown: they get neither a second line nor the terminal's escape codes. */
export function oneLine(text: string): string {
  return text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\p{Cc}/gu, '')
    .trim();
}
