/**
 * Every error a client can see, by code. `docs/errors.md` is held to this table by a test.
 *
 * `status`: HTTP status while headers are unsent. `type` and `apiCode`: what stands in OpenAI's
 * envelope (`apiCode` defaults to the code; `null` where OpenAI sends null). `retryable`: whether
 * the same request may succeed later; it also becomes `x-should-retry`. `message`: what the client
 * reads when the thrower gives none.
 */
export interface ErrorDefinition {
  status: number;
  type: string;
  retryable: boolean;
  message: string;
  apiCode?: string | null;
}

const INVALID = 'invalid_request_error';
const SERVER = 'server_error';

export const ERROR_CATALOG = {
  invalid_json: {
    status: 400,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message:
      'We could not parse the JSON body of your request. The API expects a JSON payload, but what was sent was not valid JSON.',
  },
  malformed_request: {
    status: 400,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'What was sent is not an HTTP request.',
  },
  missing_required_parameter: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A required parameter is missing.',
  },
  invalid_type: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A parameter has the wrong type.',
  },
  invalid_value: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A parameter has a value that is not supported.',
  },
  unsupported_value: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A parameter has a value that is not supported here.',
  },
  unsupported_parameter: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A parameter is not supported here.',
  },
  empty_array: { status: 400, type: INVALID, retryable: false, message: 'An array is empty.' },
  string_too_long: {
    status: 400,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'A text is longer than the limit.',
  },
  integer_above_max_value: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A number is above its maximum.',
  },
  integer_below_min_value: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A number is below its minimum.',
  },
  decimal_above_max_value: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A number is above its maximum.',
  },
  decimal_below_min_value: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'A number is below its minimum.',
  },
  text_not_speakable: {
    status: 400,
    type: INVALID,
    retryable: false,
    message:
      'No engine here can speak this text. Use Latin script, or install espeak-ng and set TTS_FALLBACK_SERVICE=espeak.',
  },
  invalid_file_format: {
    status: 400,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message:
      "Invalid file format. Supported formats: ['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']",
  },
  invalid_multipart: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'The multipart form could not be parsed.',
  },
  audio_too_short: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'Audio file is too short. Minimum audio length is 0.1 seconds.',
  },
  audio_too_long: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'The audio is longer than this server accepts.',
  },
  unsupported_language: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'The engine does not know this language.',
  },
  missing_api_key: {
    status: 401,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message:
      "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
  },
  invalid_api_key: {
    status: 401,
    type: INVALID,
    retryable: false,
    message: 'Incorrect API key provided.',
  },
  origin_not_allowed: {
    status: 403,
    type: INVALID,
    retryable: false,
    message:
      'Pages of other web origins may not use this server without a key. The operator may allow them by CORS_ORIGINS, or set API_KEYS.',
  },
  host_not_allowed: {
    status: 403,
    type: INVALID,
    retryable: false,
    message:
      'This server has no key and answers to names of its own machine only, not to the one in the Host header. The operator may allow it as one of CORS_ORIGINS, or set API_KEYS.',
  },
  unknown_route: {
    status: 404,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'Invalid URL.',
  },
  model_not_found: {
    status: 404,
    type: INVALID,
    retryable: false,
    message: 'The model does not exist or you do not have access to it.',
  },
  stream_not_found: {
    status: 404,
    type: INVALID,
    retryable: false,
    message: 'No such stream.',
  },
  file_not_found: {
    status: 404,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'No such File object.',
  },
  batch_not_found: {
    status: 404,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'No such Batch object.',
  },
  batch_not_cancellable: {
    status: 400,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'The batch cannot be cancelled any more.',
  },
  stream_not_resumable: {
    status: 400,
    type: INVALID,
    retryable: false,
    message:
      'This stream was not opened to be read again. Send the header x-stream-resume: 1, an Idempotency-Key, or "background": true with the request that opens it.',
  },
  idempotency_key_reused: {
    status: 409,
    type: INVALID,
    retryable: false,
    message:
      'This Idempotency-Key was used with another request. Use a new key for every new request.',
  },
  method_not_supported: {
    status: 405,
    type: INVALID,
    retryable: false,
    message: 'This method is not supported here.',
  },
  request_timeout: {
    status: 408,
    type: INVALID,
    retryable: true,
    apiCode: null,
    message: 'The request did not come in whole in time.',
  },
  request_too_large: {
    status: 413,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'Maximum content size limit exceeded.',
  },
  stream_too_large: {
    status: 413,
    type: INVALID,
    retryable: false,
    message:
      'The answer grew larger than one may that is sent whole or can be resumed. Ask for it as a stream ("stream": true), and without asking to resume.',
  },
  unsupported_content_type: {
    status: 415,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'Unsupported content type.',
  },
  range_not_satisfiable: {
    status: 416,
    type: INVALID,
    retryable: false,
    message: 'There are no such bytes.',
  },
  headers_too_large: {
    status: 431,
    type: INVALID,
    retryable: false,
    apiCode: null,
    message: 'The headers of the request are too large.',
  },
  upstream_rejected: {
    status: 400,
    type: INVALID,
    retryable: false,
    message: 'The engine refused the request.',
  },
  stream_cancelled: {
    status: 499,
    type: 'request_cancelled',
    retryable: false,
    message: 'The stream was stopped.',
  },
  rate_limit_exceeded: {
    status: 429,
    type: 'requests',
    retryable: true,
    message: 'Rate limit reached. Please try again later.',
  },
  internal_error: {
    status: 500,
    type: SERVER,
    retryable: false,
    message: 'The server had an error while processing your request.',
  },
  player_failed: {
    status: 500,
    type: SERVER,
    retryable: false,
    message: 'The server could not play the sound.',
  },
  engine_failed: {
    status: 500,
    type: SERVER,
    retryable: true,
    message: 'The engine failed on this request.',
  },
  stream_interrupted: {
    status: 502,
    type: SERVER,
    retryable: true,
    message: 'The worker that was answering stopped in the middle. What was sent so far is valid.',
  },
  upstream_unavailable: {
    status: 502,
    type: SERVER,
    retryable: true,
    message: 'The upstream server of this engine could not be reached or failed.',
  },
  upstream_auth: {
    status: 502,
    type: SERVER,
    retryable: false,
    message:
      "The upstream server of this engine refused the server's credentials. The operator has to check the engine's API key.",
  },
  upstream_protocol: {
    status: 502,
    type: SERVER,
    retryable: true,
    message:
      'The upstream server of this engine broke off or sent something that is not an answer.',
  },
  upstream_error: {
    status: 502,
    type: SERVER,
    retryable: true,
    message: 'The upstream server of this engine reported an error.',
  },
  server_is_overloaded: {
    status: 503,
    type: 'service_unavailable_error',
    retryable: true,
    message: 'No worker is free for this request. Please try again shortly.',
  },
  queue_unavailable: {
    status: 503,
    type: 'service_unavailable_error',
    retryable: true,
    message: 'The queue is not reachable at the moment. Please try again shortly.',
  },
  storage_full: {
    status: 503,
    type: 'service_unavailable_error',
    retryable: true,
    message: "The server's storage is full. Please try again later.",
  },
  storage_unavailable: {
    status: 503,
    type: 'service_unavailable_error',
    retryable: true,
    message: "The server's storage is not reachable at the moment. Please try again shortly.",
  },
  server_shutting_down: {
    status: 503,
    type: 'service_unavailable_error',
    retryable: true,
    message: 'The server is shutting down. Please try again.',
  },
  upstream_timeout: {
    status: 504,
    type: SERVER,
    retryable: true,
    message: 'The upstream server of this engine did not answer in time.',
  },
  first_event_timeout: {
    status: 504,
    type: SERVER,
    retryable: true,
    message: 'The worker took the request but produced nothing in time.',
  },
  stream_idle_timeout: {
    status: 504,
    type: SERVER,
    retryable: true,
    message: 'The answer stopped in the middle and did not go on in time.',
  },
  stream_timeout: {
    status: 504,
    type: SERVER,
    retryable: false,
    message: 'The answer took longer than a stream may take.',
  },
  write_stall_timeout: {
    status: 499,
    type: 'request_cancelled',
    retryable: false,
    message: 'The client stopped reading.',
  },
} as const satisfies Record<string, ErrorDefinition>;

export type ErrorCode = keyof typeof ERROR_CATALOG;

export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(ERROR_CATALOG, value);
}
