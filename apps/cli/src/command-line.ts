import { AUDIO_FORMATS } from '@antiphon/shared/audio/audio-format';
import { Command, InvalidArgumentError, Option } from 'commander';
import { addBatch, type BatchActions } from './batch/batch-command-line.ts';
import { numberBetween } from './option-value.ts';
import { TRANSCRIPT_FORMATS } from './transcription/transcription-client.ts';
import type { SayOptions } from './speech/say-command.ts';
import type { TranscribeOptions } from './transcription/transcribe-command.ts';
import type { ConversationOptions } from './chat/conversation.ts';

export interface GlobalOptions {
  baseUrl?: string;
  apiKey?: string;
}

/** What each command line means; `main.ts` does it. */
export interface CommandActions {
  chat: (options: ConversationOptions & { prompt: string }) => Promise<void>;
  say: (options: Omit<SayOptions, 'text'> & { words: string[] }) => Promise<void>;
  transcribe: (options: TranscribeOptions) => Promise<void>;
  batch: BatchActions;
  doctor: (options: { json: boolean }) => Promise<void>;
}

/** The commands and their options. Parsing throws a CommanderError instead of ending the process. */
export function createProgram(actions: CommandActions): Command {
  const program = new Command('antiphon')
    .description('Talk with a voice server: antiphon, or any with an OpenAI-compatible API')
    .usage('<command> [options]   (npm run antiphon -- <command> [options])')
    .option(
      '--base-url <url>',
      'the API, with its /v1 (default: OPENAI_BASE_URL, else port 8000 here)',
    )
    .option('--api-key <key>', 'its key (default: OPENAI_API_KEY)')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    // What is wrong is said by main.ts, in one line like everything else.
    .configureOutput({ outputError: () => undefined });
  addChat(program, actions);
  addSay(program, actions);
  addTranscribe(program, actions);
  addBatch(program, actions.batch);
  program
    .command('doctor')
    .description('check the server, its engines, and the programs and devices of this machine')
    .option('--json', 'the checks as JSON', false)
    .action((options: { json: boolean }) => actions.doctor(options));
  return program;
}

function addChat(program: Command, { chat }: CommandActions): void {
  program
    .command('chat')
    .description('ask and hear the answer; without a prompt a conversation')
    .argument('[prompt...]', 'the question')
    .option('--voice <name>', 'who speaks', 'alloy')
    .option('--model <name>', "who answers (default: the server's)")
    .option('--system <text>', 'what comes before the conversation')
    .option('--save <file.wav>', 'write the spoken answer to a file', wavName)
    .option('--speak', 'an error where the answer cannot be heard')
    .option('--no-speak', 'play nothing')
    .action((prompt: string[], options: ConversationOptions) =>
      chat({ ...options, prompt: prompt.join(' ').trim() }),
    );
}

function addSay(program: Command, { say }: CommandActions): void {
  program
    .command('say')
    .description('speak a text')
    .argument('[text...]', 'what to say; - or nothing: standard input')
    .option('--voice <name>', 'who speaks', 'alloy')
    .option('--model <name>', "what speaks (default: the server's)")
    .option('--speed <factor>', '0.25 to 4', numberBetween(0.25, 4))
    .option('--save <file>', `write a file: .${AUDIO_FORMATS.join(', .')}; - is standard output`)
    .addOption(
      new Option('--format <name>', 'of the file, whatever its name').choices(AUDIO_FORMATS),
    )
    .action((words: string[], options: Omit<SayOptions, 'text'>) => say({ ...options, words }));
}

function addTranscribe(program: Command, { transcribe }: CommandActions): void {
  program
    .command('transcribe')
    .description('write down what is said')
    .argument('[file...]', 'audio files; - is standard input')
    .option('--microphone', 'record until Ctrl-C', false)
    .option('--seconds <number>', 'how long to record', numberBetween(0.1, 7200))
    .addOption(
      new Option('--format <name>', 'of the transcript')
        .choices(TRANSCRIPT_FORMATS)
        .default('text'),
    )
    .option('--language <code>', 'what is spoken: en, de …')
    .option('--model <name>', "what recognises (default: the server's)")
    .option('--stream', 'show the words as they are recognised, where the server can', false)
    .action((files: string[], options: Omit<TranscribeOptions, 'files'>) =>
      transcribe({ ...options, files }),
    );
}

function wavName(value: string): string {
  if (/\.wav$/i.test(value)) return value;
  throw new InvalidArgumentError('A streamed answer is saved as WAV: end the name in .wav.');
}
