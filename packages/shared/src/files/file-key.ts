export const fileKey = (fileId: string): string => `antiphon:file:${fileId}`;

/** Sorted sets: a tenant's files, all and those of one purpose, by the order in which they came. */
export const tenantFilesKey = (tenantId: string): string => `antiphon:tenant:${tenantId}:files`;
export const purposeFilesKey = (tenantId: string, purpose: string): string =>
  `${tenantFilesKey(tenantId)}:${purpose}`;

/** The place in that order of one that is gone: who pages through files may delete them meanwhile. */
export const goneFileKey = (tenantId: string, fileId: string): string =>
  `${tenantFilesKey(tenantId)}:gone:${fileId}`;
/** ms */
export const GONE_FILE_TTL_MS = 3_600_000;

/** Sorted set of file ids by when they expire, Unix seconds. */
export const FILE_EXPIRY_KEY = 'antiphon:files:expiry';
/** Counts files: their order. */
export const FILE_SEQUENCE_KEY = 'antiphon:files:sequence';
