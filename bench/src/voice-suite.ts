import { fork } from 'node:child_process';
import { messageOf } from './child-message.ts';
import { monotonicMs } from './clock.ts';
import { startAntiphon } from './sides.ts';
import type { StartOptions } from './sides.ts';
import { plainTable } from './tables.ts';
import { VOICE_WARM_UP } from './voice-cases.ts';
import type { VoiceCase } from './voice-cases.ts';
import type { VoiceOrder, VoiceReply } from './voice-plan.ts';
import { voiceRoundRows } from './voice-report.ts';
import { runVoiceCase, warmUpVoices } from './voice-rounds.ts';
import type { RunVoices, VoiceCaseResult, VoiceSide } from './voice-rounds.ts';

export interface VoiceSuiteOptions {
  start: StartOptions;
  cases: VoiceCase[];
  /** Names of sides to leave out. */
  without: string[];
  /** Takes a side into the care of the caller, who stops it. */
  onSide: (side: Pick<VoiceSide, 'programs'>) => void;
}

/** Measures spoken answers; `measuringFromMs`: when warming up was over. */
export async function benchVoices({
  start,
  cases,
  without,
  onSide,
}: VoiceSuiteOptions): Promise<{ results: VoiceCaseResult[]; measuringFromMs: number }> {
  const { upstreamPort } = start;
  const client = fork(new URL('./voice-client.ts', import.meta.url));
  try {
    const sides: VoiceSide[] = [];
    if (!without.includes('bare'))
      sides.push({ name: 'bare', way: { kind: 'bare' }, programs: [] });
    if (!without.includes('antiphon')) {
      const { target, programs } = await startAntiphon(start, ['llm', 'tts']);
      onSide({ programs });
      sides.push({ name: 'antiphon', way: { kind: 'gateway', target }, programs });
    }
    const run: RunVoices = (order) => {
      client.send({ ...order, upstreamPort } satisfies VoiceOrder);
      return messageOf<VoiceReply>(client, 'client of spoken answers');
    };
    console.error('Warming up voices…');
    await warmUpVoices(run, sides, VOICE_WARM_UP);
    const measuringFromMs = monotonicMs();
    const results: VoiceCaseResult[] = [];
    for (const voiceCase of cases) {
      console.error(`${voiceCase.title}: ${voiceCase.rounds} rounds…`);
      const result = await runVoiceCase(run, sides, voiceCase);
      console.log(`\n${voiceCase.title}\n${plainTable(voiceRoundRows(result))}`);
      results.push(result);
    }
    return { results, measuringFromMs };
  } finally {
    if (client.connected) client.disconnect();
  }
}
