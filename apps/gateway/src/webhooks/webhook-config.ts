import { BlockList, isIP } from 'node:net';
import { z } from 'zod';

/** RFC 1918, 4193, 3927, 4291 and the loopback: nobody between these hosts and us reads along. */
const PRIVATE = new BlockList();
for (const [network, prefix] of [
  ['127.0.0.0', 8],
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['169.254.0.0', 16],
] as const) {
  PRIVATE.addSubnet(network, prefix, 'ipv4');
}
PRIVATE.addAddress('::1', 'ipv6');
PRIVATE.addSubnet('fc00::', 7, 'ipv6');
PRIVATE.addSubnet('fe80::', 10, 'ipv6');

/** Names that no public server has: a service of compose or Kubernetes, a machine of the house. */
const PRIVATE_NAME = /^[^.]+$|\.(?:localhost|local|internal|home\.arpa)$/;

function isPrivate(hostname: string): boolean {
  const address = hostname.replace(/^\[|\]$/g, '');
  const version = isIP(address);
  if (version === 0) return PRIVATE_NAME.test(hostname);
  return PRIVATE.check(address, version === 4 ? 'ipv4' : 'ipv6');
}

function urlFault(value: string): string | undefined {
  if (!URL.canParse(value)) return 'is not a URL';
  const { protocol, hostname, username, password } = new URL(value);
  if (protocol !== 'https:' && protocol !== 'http:')
    return 'must begin with https:// (http:// for a private host)';
  if (protocol === 'http:' && !isPrivate(hostname))
    return 'must begin with https://: http:// is for loopback and private hosts';
  if (username !== '' || password !== '') return 'must hold no user name and no password';
  return undefined;
}

/** As Standard Webhooks writes secrets (base64 of 16 bytes or more), or any text of that length. */
const SECRET =
  /^(?:whsec_(?=.{24})(?:[A-Za-z\d+/]{4})*(?:[A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?|(?!whsec_)[\x21-\x7e]{16,})$/;

/** Where the ends of batches are told: the operator's choice alone, never a request's. */
export const webhookConfig = {
  BATCH_WEBHOOK_URL: z
    .string()
    .superRefine((value, context) => {
      const fault = urlFault(value);
      if (fault) context.addIssue({ code: 'custom', message: fault });
    })
    .optional(),
  BATCH_WEBHOOK_SECRET: z
    .string()
    .regex(
      SECRET,
      'must be whsec_ and the base64 of 16 bytes or more, or 16 or more printable ASCII characters without blanks',
    )
    .optional(),
};
