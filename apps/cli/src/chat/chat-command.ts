import { createInterface, type Interface } from 'node:readline';
import { CliError, errorLine } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { INTERRUPTED_EXIT } from '../interrupts.ts';
import { Conversation, type ConversationOptions } from './conversation.ts';

export interface ChatStreams {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
}

/** One answer to `prompt`, or, without one, a conversation over standard input. Returns the exit code. */
export async function chat(
  context: CliContext,
  { prompt, ...options }: ConversationOptions & { prompt: string },
  streams: ChatStreams,
): Promise<number> {
  const conversation = new Conversation(context, options);
  try {
    await conversation.open();
    if (prompt !== '') return (await conversation.ask(prompt)) ? 0 : INTERRUPTED_EXIT;
    return await converse(context, conversation, streams);
  } finally {
    await conversation.close();
  }
}

/** A failed turn is told and does not end the conversation of a person; a script's it does. */
async function converse(
  { interrupts, terminal }: CliContext,
  conversation: Conversation,
  { stdin, stdout }: ChatStreams,
): Promise<number> {
  const isTty = stdin.isTTY && stdout.isTTY;
  const lines = createInterface({
    input: stdin,
    ...(isTty ? { output: stdout, terminal: true } : { terminal: false }),
    prompt: '> ',
  });
  const release = interrupts.listen(() => {
    if (isTty) startNewLine(lines, terminal);
    else interrupts.end(INTERRUPTED_EXIT);
  });
  // Line editing reads Ctrl-C as a key.
  lines.on('SIGINT', () => interrupts.interrupt());
  const leave = (): void => lines.close();
  interrupts.ended.addEventListener('abort', leave, { once: true });
  try {
    if (isTty) {
      terminal.notice('Ctrl-C stops an answer, Ctrl-D leaves');
      lines.prompt();
    }
    for await (const line of lines) {
      const whole = await takeTurn(line, { conversation, isTty, terminal });
      if (interrupts.ended.aborted) break;
      if (!whole && !isTty) return INTERRUPTED_EXIT;
      if (isTty) lines.prompt();
    }
    if (isTty) terminal.print('\n');
    return 0;
  } finally {
    release();
    lines.close();
    interrupts.ended.removeEventListener('abort', leave);
  }
}

interface Turn {
  conversation: Conversation;
  isTty: boolean;
  terminal: CliContext['terminal'];
}

async function takeTurn(line: string, { conversation, isTty, terminal }: Turn): Promise<boolean> {
  if (line.trim() === '') return true;
  try {
    return await conversation.ask(line);
  } catch (thrown) {
    if (!isTty || !(thrown instanceof CliError)) throw thrown;
    terminal.notice(errorLine(thrown));
    return true;
  }
}

/** Ctrl-C at the prompt drops what was typed. */
function startNewLine(lines: Interface, terminal: CliContext['terminal']): void {
  lines.write(null, { ctrl: true, name: 'u' });
  terminal.print('\n');
  terminal.notice('Ctrl-D leaves');
  lines.prompt();
}
