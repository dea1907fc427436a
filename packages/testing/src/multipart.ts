/** One part of a multipart form, as bytes on the wire; `filename` makes it a file. */
export interface FormPart {
  name: string;
  value: string | Uint8Array;
  filename?: string;
  contentType?: string;
}

export const BOUNDARY = 'antiphon-boundary-7f3a';

/** A form as it goes over the wire, for what `FormData` would not write. */
export function multipartBody(parts: FormPart[], boundary = BOUNDARY): Buffer {
  const pieces: (string | Uint8Array)[] = parts.flatMap(
    ({ name, value, filename, contentType }) => [
      `--${boundary}\r\ncontent-disposition: form-data; name="${name}"`,
      filename === undefined ? '' : `; filename="${filename}"`,
      contentType === undefined ? '' : `\r\ncontent-type: ${contentType}`,
      '\r\n\r\n',
      value,
      '\r\n',
    ],
  );
  return Buffer.concat(
    [...pieces, `--${boundary}--\r\n`].map((piece) =>
      typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece,
    ),
  );
}

export const multipartType = (boundary = BOUNDARY): string =>
  `multipart/form-data; boundary=${boundary}`;
