import { AUDIO_FORMATS } from '@antiphon/shared/audio/audio-format';
import { type Command, Option } from 'commander';
import { numberBetween } from '../option-value.ts';
import { TRANSCRIPT_FORMATS } from '../transcription/transcription-client.ts';
import { completionWindow, USUAL_WINDOW } from './completion-window.ts';
import type { RunOptions } from './run-command.ts';
import type { SpeakOptions } from './speak-command.ts';
import type { StatusOptions } from './status-command.ts';
import type { TranscribeBatchOptions } from './transcribe-batch.ts';

/** What each command line of `batch` means; `main.ts` does it. */
export interface BatchActions {
  speak: (path: string, options: SpeakOptions) => Promise<void>;
  transcribe: (paths: string[], options: TranscribeBatchOptions) => Promise<void>;
  run: (path: string, options: RunOptions) => Promise<void>;
  status: (batchId: string | undefined, options: StatusOptions) => Promise<void>;
  fetch: (batchId: string, options: { out?: string }) => Promise<void>;
  cancel: (batchId: string) => Promise<void>;
}

/** `batch …`: work that takes its time, on servers that have batches. */
export function addBatch(program: Command, actions: BatchActions): void {
  const batch = program
    .command('batch')
    .description('speak books, transcribe folders: work that goes on on the server without you');
  addSpeak(batch, actions);
  addTranscribe(batch, actions);
  addRequests(batch, actions);
}

const windowOption = (): Option =>
  new Option('--window <hours>', 'what is not done then is given up: 1h to 168h')
    .argParser(completionWindow)
    .default(USUAL_WINDOW);

function addSpeak(batch: Command, { speak }: BatchActions): void {
  batch
    .command('speak')
    .description('speak a book: one file per chapter; the same command goes on after a stop')
    .argument('<file>', 'a text, or Markdown (.md)')
    .option('--out <folder>', 'where the chapters go (default: the name of the text)')
    .addOption(
      new Option('--format <name>', 'of the chapters').choices(AUDIO_FORMATS).default('mp3'),
    )
    .option('--voice <name>', 'who speaks', 'alloy')
    .option('--model <name>', "what speaks (default: the server's)")
    .option('--speed <factor>', '0.25 to 4', numberBetween(0.25, 4))
    .addOption(windowOption())
    .option('--restart', 'begin anew, whatever the folder holds', false)
    .option('--keep', 'leave the files on the server', false)
    .action((path: string, options: SpeakOptions) => speak(path, options));
}

function addTranscribe(batch: Command, { transcribe }: BatchActions): void {
  batch
    .command('transcribe')
    .description('write down recordings, one file each')
    .argument('<file...>', 'audio files')
    .option('--out <folder>', 'where the transcripts go (default: beside the recordings)')
    .addOption(
      new Option('--format <name>', 'of the transcripts')
        .choices(TRANSCRIPT_FORMATS)
        .default('text'),
    )
    .option('--language <code>', 'what is spoken: en, de …')
    .option('--model <name>', "what recognises (default: the server's)")
    .option('--force', 'replace transcripts that are there', false)
    .addOption(windowOption())
    .option('--keep', 'leave the files on the server', false)
    .action((paths: string[], options: TranscribeBatchOptions) => transcribe(paths, options));
}

function addRequests(batch: Command, { run, status, fetch, cancel }: BatchActions): void {
  batch
    .command('run')
    .description('run a file of requests and fetch what comes of it')
    .argument('<requests.jsonl>', 'one request per line, as the API has it')
    .option('--endpoint <path>', 'of all requests (default: the url of the first)')
    .option('--out <folder>', 'where the results go (default: the name of the requests)')
    .addOption(windowOption())
    .action((path: string, options: RunOptions) => run(path, options));
  batch
    .command('status')
    .description('show a batch, or the newest ones')
    .argument('[id]', 'the batch')
    .option('--json', 'as the API has it', false)
    .action((batchId: string | undefined, options: StatusOptions) => status(batchId, options));
  batch
    .command('fetch')
    .description('wait for the end of a batch and fetch what came of it')
    .argument('<id>', 'the batch')
    .option('--out <folder>', "where the results go (default: the batch's id)")
    .action((batchId: string, options: { out?: string }) => fetch(batchId, options));
  batch
    .command('cancel')
    .description('end a batch; what is done can be fetched')
    .argument('<id>', 'the batch')
    .action((batchId: string) => cancel(batchId));
}
