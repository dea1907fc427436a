import { OpenAI } from 'openai';
import { Agent, setGlobalDispatcher } from 'undici';
import { CliError, USAGE_EXIT } from './cli-error.ts';

/** The server that is spoken to. */
export interface Api {
  client: OpenAI;
  /** With `/v1`, without a slash at its end. */
  baseUrl: string;
  /** The ids of `GET /models`. */
  listModels(signal: AbortSignal): Promise<string[]>;
  /** Another server, which is told the key only where it has the same origin. */
  at(baseUrl: string): Api;
}

/** The SDK's own timeout would also end answers that are long in the making. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * A client of any OpenAI-compatible server. Throws a CliError when the address is none.
 * Nothing is tried twice: whoever waits at the terminal sees at once what is wrong.
 */
export function createApi({ baseUrl, apiKey }: { baseUrl: string; apiKey?: string }): Api {
  const address = checkedAddress(baseUrl);
  // Node's own limits, 300 s to the headers and between two reads, would end a long transcription.
  setGlobalDispatcher(
    new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: { timeout: CONNECT_TIMEOUT_MS } }),
  );
  const client = new OpenAI({
    baseURL: address,
    apiKey: apiKey ?? 'none',
    // Given as null, since the SDK would read the environment for what is left out.
    adminAPIKey: null,
    organization: null,
    project: null,
    webhookSecret: null,
    logLevel: 'off',
    maxRetries: 0,
    timeout: NO_TIMEOUT_MS,
    defaultHeaders: apiKey === undefined ? { authorization: null } : {},
  });
  return {
    client,
    baseUrl: address,
    listModels: async (signal) => {
      const list = await client.models.list({ signal });
      return Array.isArray(list.data) ? list.data.map(({ id }) => id) : [];
    },
    at(other) {
      const isSame = URL.canParse(other) && new URL(other).origin === new URL(address).origin;
      return createApi({ baseUrl: other, ...(isSame && apiKey !== undefined ? { apiKey } : {}) });
    },
  };
}

function checkedAddress(baseUrl: string): string {
  const valid = URL.canParse(baseUrl) && /^https?:$/.test(new URL(baseUrl).protocol);
  if (valid) return baseUrl.replace(/\/+$/, '');
  throw new CliError(
    `'${baseUrl}' is not the address of a server`,
    'give one like http://127.0.0.1:8000/v1 by --base-url or OPENAI_BASE_URL',
    { exitCode: USAGE_EXIT },
  );
}
