import { dataOf, eventsIn } from '@antiphon/testing/events-in';

/** What one streamed chat answer was, frame by frame, however it ended. */
export interface ChatTranscript {
  status: number;
  /** Contents of choice 0, one per chunk that had any. */
  contents: string[];
  finishReasons: string[];
  done: boolean;
  /** Errors sent as frames. */
  errors: { code: string | null; message: string }[];
  /** The socket broke. */
  broken: boolean;
}

interface ChunkFrame {
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  error?: { code: string | null; message: string };
}

export interface ChatStreamOptions {
  body?: Record<string, unknown>;
  signal?: AbortSignal;
  onContent?: (content: string, transcript: ChatTranscript) => void;
}

/** Reads a streamed answer by hand: SDKs hide how a stream ended. */
export async function readChatStream(
  baseUrl: string,
  { body, signal, onContent }: ChatStreamOptions = {},
): Promise<ChatTranscript> {
  const transcript: ChatTranscript = {
    status: 0,
    contents: [],
    finishReasons: [],
    done: false,
    errors: [],
    broken: false,
  };
  try {
    const response = await fetch(`${baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'scripted',
        stream: true,
        messages: [{ role: 'user', content: 'go' }],
        ...body,
      }),
      signal: signal ?? null,
    });
    transcript.status = response.status;
    if (response.status !== 200) {
      const { error } = (await response.json()) as Required<Pick<ChunkFrame, 'error'>>;
      transcript.errors.push(error);
      return transcript;
    }
    for await (const frame of eventsIn(response.body)) readFrame(frame, transcript, onContent);
  } catch {
    transcript.broken = true;
  }
  return transcript;
}

function readFrame(
  frame: string,
  transcript: ChatTranscript,
  onContent: ChatStreamOptions['onContent'],
): void {
  const data = dataOf(frame);
  if (data === undefined) return; // a comment
  if (data === '[DONE]') {
    transcript.done = true;
    return;
  }
  const { choices, error } = JSON.parse(data) as ChunkFrame;
  if (error) transcript.errors.push(error);
  const choice = choices?.[0];
  if (choice?.finish_reason) transcript.finishReasons.push(choice.finish_reason);
  const content = choice?.delta?.content;
  if (!content) return;
  transcript.contents.push(content);
  onContent?.(content, transcript);
}

/** `t0 t1 … t<count-1>`: what the scripted server says. */
export function expectedTokens(count: number): string {
  return Array.from({ length: count }, (_, index) => `t${index}`).join(' ');
}
