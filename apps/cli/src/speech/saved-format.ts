import { extname } from 'node:path';
import { AUDIO_FORMATS, type AudioFormat } from '@antiphon/shared/audio/audio-format';
import { CliError, USAGE_EXIT } from '../cli-error.ts';

const OTHER_EXTENSIONS: Record<string, AudioFormat> = { ogg: 'opus', raw: 'pcm' };

/** The format of a file: the one named, else by its extension; `-` (standard output) is WAV. */
export function savedFormat(path: string, named: AudioFormat | undefined): AudioFormat {
  if (named) return named;
  if (path === '-') return 'wav';
  const extension = extname(path).slice(1).toLowerCase();
  const format = AUDIO_FORMATS.find((known) => known === extension) ?? OTHER_EXTENSIONS[extension];
  if (format) return format;
  throw new CliError(
    `'${path}' does not tell a format`,
    `end its name in one of .${AUDIO_FORMATS.join(' .')}, or give --format`,
    { exitCode: USAGE_EXIT },
  );
}
